// Package guest makes what qemu boots: a kernel taken out of Debian's package without installing it, and an initial
// file system that holds one program of ours and the kernel modules it inserts.
//
//	apt-get download linux-image-...-cloud-amd64         go build ./internal/e2e/guest/init
//	            |                                                     |
//	            v dpkg-deb -x, into the cache                         v
//	   vmlinuz, lib/modules/*.ko ----> modules in order ----> newc archive, gzip
//	            |                                                     |
//	            v unpacked                                            |
//	         vmlinux -----------------> Image <-----------------------+
//
// BuildDebian makes images with more in them: programs and their libraries, out of a Debian root such as that of package
// trixie, and drivers that are inserted when a test says so.
//
// The cache is $WEFT_CACHE, or weft below the user's cache directory. The kernel stays there from run to run; the
// initial file system is built anew when the program or the kernel has changed.
package guest
