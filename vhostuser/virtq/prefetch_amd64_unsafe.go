package virtq

// prefetchRead asks, for each of n buffers from first on, for the line in which the frame behind a header of so many bytes
// begins, and the one that has the buffer's last byte, or the last of its first most ones.
//
//go:noescape
func prefetchRead(first *buffer, n int, header, most uintptr)

// prefetchWrite asks, for each of n buffers from first on, for the line in which a header of so many bytes begins, to be read,
// and the one or two that the first 64 bytes behind it are in, to be written.
//
//go:noescape
func prefetchWrite(first *buffer, n int, header uintptr)
