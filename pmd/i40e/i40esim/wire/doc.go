// Package wire is what a model's port is plugged into: another model back to back, a tap interface of the kernel, or a
// capture file that is replayed; and a tee that records what passes in a capture file.
//
//	Device.Send --> Port --+--> Pair: the other port's receiver
//	Device.Receive <-------+--> Tap: an interface of the kernel
//	                       +--> Replay: frames of a file, at their times
//	                       |
//	                      Tee --> pcap or pcapng file
//
// A frame here is a whole Ethernet frame without its frame check sequence, of at most MaxFrame bytes. A wire never
// blocks who sends: what a receiver does not take in time is lost, after as much as a port's packet buffer holds, and
// counted.
package wire
