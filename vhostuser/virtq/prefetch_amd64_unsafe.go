package virtq

// prefetchRead asks, for each of n buffers from first on, for the line in which the frame behind a header of so many bytes
// begins, and the one that has the buffer's last byte, or the last of its first most ones.
//
//go:noescape
func prefetchRead(first *buffer, n int, header, most uintptr)

// claim makes this CPU the owner, for each of n buffers from first on, of the line that the frame behind a header of so many
// bytes begins in: it writes a byte there, if the buffer alone is a whole chain that may be written, is mapped, and is longer
// than the header. Of each buffer it asks for two lines more: one to be written, own bytes from where the frame begins, and one
// to be read, read bytes from where the buffer begins.
//
// It asks for all lines before it writes to any: they come at the same time, but stores are made one after the other. And for
// those to be read last: a CPU that fetches the line behind the one it was asked for would have the frame's line to be read only.
//
// SAFETY: a buffer that is mapped (at is not 0) has len bytes there, by translate; they are the device's to write until the
// buffer is used, and a fault is the same as in fill.
//
//go:noescape
func claim(first *buffer, n int, header uintptr, own, read int)
