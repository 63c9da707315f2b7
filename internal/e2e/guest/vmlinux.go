package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pierrec/lz4/v4"
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

// lz4LegacyMagic begins the legacy frame of LZ4, which the kernel uses (lz4, doc/lz4_Frame_format.md). The kernel's build
// appends the length of all that comes out.
const lz4LegacyMagic = 0x184c2102

// errCompression says that a kernel is compressed by something else than LZ4, as Debian's cloud kernels are.
var errCompression = errors.New("the kernel is not compressed with LZ4")

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
	frame, size := payload[:len(payload)-4], binary.LittleEndian.Uint32(payload[len(payload)-4:])
	kernel, err := io.ReadAll(lz4.NewReader(bytes.NewReader(frame)))
	if err != nil {
		return nil, fmt.Errorf("unpacking it: %w", err)
	}
	if uint64(len(kernel)) != uint64(size) {
		return nil, fmt.Errorf("%d bytes came out, want %d", len(kernel), size)
	}
	if !bytes.HasPrefix(kernel, []byte("\x7fELF")) {
		return nil, errors.New("what was compressed is no ELF file")
	}
	return kernel, nil
}
