package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Where a bzImage says what is in it (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
const (
	setupSectsAt    = 0x1f1
	headerMagicAt   = 0x202
	protocolAt      = 0x206
	payloadOffsetAt = 0x248
	payloadLengthAt = 0x24c

	payloadProtocol   = 0x208 // the first with payload_offset and payload_length
	defaultSetupSects = 4     // what 0 stands for
	sectorSize        = 512
)

// The legacy frame of LZ4, which the kernel uses: the magic number, then blocks, each after its length and on its own
// (lz4, doc/lz4_Frame_format.md, "Legacy frame"). The kernel's build appends the length of all that comes out.
const (
	lz4LegacyMagic = 0x184c2102
	lz4BlockLimit  = 8 << 20 // of what a block holds
	lz4MinMatch    = 4
)

// errCompression says that a kernel is compressed by something else than LZ4, as Debian's cloud kernels are.
var errCompression = errors.New("the kernel is not compressed with LZ4")

// errCorrupt says that compressed data cannot be what the compressor made.
var errCorrupt = errors.New("corrupt LZ4 data")

// writeVmlinux takes the kernel proper, an ELF file, out of the bzImage that unpacks itself.
func writeVmlinux(bzImage, vmlinux string) error {
	image, err := os.ReadFile(bzImage)
	if err != nil {
		return err
	}
	payload, err := payload(image)
	if err != nil {
		return fmt.Errorf("%s: %w", bzImage, err)
	}
	kernel, err := unpackKernel(payload)
	if err != nil {
		return fmt.Errorf("%s: %w", bzImage, err)
	}
	return os.WriteFile(vmlinux, kernel, 0o644)
}

// payload is the compressed kernel in a bzImage.
func payload(image []byte) ([]byte, error) {
	if len(image) < payloadLengthAt+4 || string(image[headerMagicAt:headerMagicAt+4]) != "HdrS" ||
		binary.LittleEndian.Uint16(image[protocolAt:]) < payloadProtocol {
		return nil, errors.New("no kernel with boot protocol 2.08 or later")
	}
	sects := uint64(image[setupSectsAt])
	if sects == 0 {
		sects = defaultSetupSects
	}
	from := (sects+1)*sectorSize + uint64(binary.LittleEndian.Uint32(image[payloadOffsetAt:]))
	to := from + uint64(binary.LittleEndian.Uint32(image[payloadLengthAt:]))
	if to > uint64(len(image)) {
		return nil, fmt.Errorf("its payload ends at %d, beyond the file's end at %d", to, len(image))
	}
	return image[from:to], nil
}

// unpackKernel uncompresses a payload, with the length at its end.
func unpackKernel(payload []byte) ([]byte, error) {
	if len(payload) < 8 || binary.LittleEndian.Uint32(payload) != lz4LegacyMagic {
		return nil, errCompression
	}
	blocks, size := payload[4:len(payload)-4], binary.LittleEndian.Uint32(payload[len(payload)-4:])
	var kernel []byte
	for len(blocks) > 0 {
		if len(blocks) < 4 {
			return nil, errCorrupt
		}
		n := binary.LittleEndian.Uint32(blocks)
		blocks = blocks[4:]
		if uint64(n) > uint64(len(blocks)) {
			return nil, errCorrupt
		}
		block, err := unpackBlock(blocks[:n])
		if err != nil {
			return nil, err
		}
		kernel = append(kernel, block...)
		blocks = blocks[n:]
	}
	if uint64(len(kernel)) != uint64(size) {
		return nil, fmt.Errorf("%w: %d bytes came out, want %d", errCorrupt, len(kernel), size)
	}
	if !bytes.HasPrefix(kernel, []byte("\x7fELF")) {
		return nil, errors.New("what was compressed is no ELF file")
	}
	return kernel, nil
}

// unpackBlock uncompresses one block: sequences of a token, literals, and a match in what came before (lz4,
// doc/lz4_Block_format.md).
func unpackBlock(in []byte) ([]byte, error) {
	out := make([]byte, 0, lz4BlockLimit)
	for len(in) > 0 {
		token := in[0]
		literals, rest, ok := length(token>>4, in[1:])
		if !ok || literals > len(rest) || len(out)+literals > lz4BlockLimit {
			return nil, errCorrupt
		}
		out, in = append(out, rest[:literals]...), rest[literals:]
		if len(in) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(in) < 2 {
			return nil, errCorrupt
		}
		back := int(binary.LittleEndian.Uint16(in))
		match, rest, ok := length(token&15, in[2:])
		match += lz4MinMatch
		if !ok || back == 0 || back > len(out) || len(out)+match > lz4BlockLimit {
			return nil, errCorrupt
		}
		in = rest
		for range match { // byte by byte: a match may overlap what it makes
			out = append(out, out[len(out)-back])
		}
	}
	return nil, errCorrupt
}

// length is a length whose first four bits are in a token: 15 goes on in the next byte, 255 in the one after.
func length(bits byte, in []byte) (n int, rest []byte, ok bool) {
	n = int(bits)
	if bits < 15 {
		return n, in, true
	}
	for i, b := range in {
		n += int(b)
		if b < 255 {
			return n, in[i+1:], true
		}
	}
	return 0, nil, false
}
