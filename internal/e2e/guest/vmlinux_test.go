package guest

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// elfBlock is "\x7fELF", then "abc" seven times, by hand: seven literals, a match of 18 bytes three back (its length, less
// four, is 14), and a last sequence without a match that holds "!".
const (
	elfBlock = "\x7e\x7fELFabc\x03\x00\x10!"
	elfText  = "\x7fELFabcabcabcabcabcabcabc!"
)

// bzImage packs blocks of LZ4 as the kernel's build does; size is what shall come out.
func bzImage(size int, blocks ...string) []byte {
	const offset = 0x100
	b := make([]byte, 2*sectorSize+offset)
	b[setupSectsAt] = 1
	copy(b[headerMagicAt:], "HdrS")
	binary.LittleEndian.PutUint16(b[protocolAt:], payloadProtocol)
	payload := binary.LittleEndian.AppendUint32(nil, lz4LegacyMagic)
	for _, block := range blocks {
		payload = append(binary.LittleEndian.AppendUint32(payload, uint32(len(block))), block...)
	}
	payload = binary.LittleEndian.AppendUint32(payload, uint32(size))
	binary.LittleEndian.PutUint32(b[payloadOffsetAt:], offset)
	binary.LittleEndian.PutUint32(b[payloadLengthAt:], uint32(len(payload)))
	return append(append(b, payload...), "what follows the payload"...)
}

// unpackImage has writeVmlinux read an image from a file.
func unpackImage(t *testing.T, image []byte) (string, error) {
	t.Helper()
	from, to := filepath.Join(t.TempDir(), "vmlinuz"), filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(from, image, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeVmlinux(from, to); err != nil {
		return "", err
	}
	kernel, err := os.ReadFile(to)
	return string(kernel), err
}

func TestTheKernelIsTakenOutOfItsImage(t *testing.T) {
	long := strings.Repeat("x", 15+255+7) // a length of three bytes: 15 in the token, 255, 7
	for name, c := range map[string]struct {
		blocks []string
		want   string
	}{
		"one block":            {[]string{elfBlock}, elfText},
		"two blocks":           {[]string{elfBlock, "\x20xy"}, elfText + "xy"},
		"many literals":        {[]string{elfBlock, "\xf0\xff\x07" + long}, elfText + long},
		"a long match":         {[]string{elfBlock, "\x1fx\x01\x00\xff\x02\x00"}, elfText + strings.Repeat("x", 1+15+255+2+4)},
		"nothing but literals": {[]string{"\x40\x7fELF"}, "\x7fELF"},
	} {
		if got, err := unpackImage(t, bzImage(len(c.want), c.blocks...)); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func TestAnImageThatIsNotWhatItSeemsIsRefused(t *testing.T) {
	good := bzImage(len(elfText), elfBlock)
	change := func(at int, to string) []byte {
		b := append([]byte(nil), good...)
		copy(b[at:], to)
		return b
	}
	payloadAt := 2*sectorSize + 0x100
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"no header":               {change(headerMagicAt, "hdrs"), "boot protocol"},
		"an old header":           {change(protocolAt, "\x07\x02"), "boot protocol"},
		"a short file":            {good[:headerMagicAt], "boot protocol"},
		"a payload too long":      {change(payloadLengthAt, "\xff\xff\xff\xff"), "beyond the file's end"},
		"a block too long":        {change(payloadAt+4, "\xff\xff"), "unpacking"},
		"a match nowhere":         {bzImage(8, "\x40\x7fELF\x00\x00\x00"), "unpacking"},
		"another length came out": {bzImage(len(elfText)+1, elfBlock), "came out"},
		"another compression":     {change(payloadAt, "\xfd7zXZ"), errCompression.Error()},
		"no ELF file":             {bzImage(3, "\x30abc"), "no ELF"},
	} {
		if got, err := unpackImage(t, c.image); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v; want an error with %q", name, got, err, c.want)
		}
	}
}
