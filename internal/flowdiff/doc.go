// Package flowdiff compares Weft with Open vSwitch: the same rules, the same packets, and what leaves each port must be
// the same, byte for byte and in order. Rules and packets are random, drawn from tables of fields and actions; what
// differs is shrunk to a few rules and one packet and printed as a case that can be kept under testdata.
//
//	seed --> generator: groups, rules, packets derived from the rules' matches, then mutated
//	             |                                     |
//	             v                                     v
//	   ovs-vswitchd, dummy ports              vswitch.Switch over memport
//	   rules:   ovs-ofctl add-flows           rules:   FlowApply
//	   packets: netdev-dummy/receive          packets: Inject
//	   outputs: tx_pcap of each port          outputs: Drain of each port
//	             |                                     |
//	             +-----> compare, per port <-----------+
//	                        |  differ: known? else shrink, trace both, report
//	                        v
//	              the same case, cached against uncached Weft, with rule changes between the packets
//
// # When Open vSwitch is done
//
// All ports are of type dummy, so ovs-vswitchd's main thread polls them, calls up, executes and writes the capture
// files, with a flush after each frame, in one turn of its loop. Commands of the control socket are served by the same
// thread between two turns. So when the coverage counter netdev_received, asked for by such a command, says that a frame
// was received, then everything that came of it has been written. Nothing here waits by the clock.
//
// Datapath flows are purged before each packet, so that each one is translated anew: what is compared is OpenFlow's
// meaning of the rules, not how soon Open vSwitch's revalidators follow a change.
//
// # What is not a fault of Weft's
//
// knownDifferences and knownRefusals are tables of what was looked into and is meant to stay, each as narrow as it can be
// told, with its reason; a run prints how often it met each. What no row explains fails the test.
//
// # Running it
//
// "go test ./internal/flowdiff" takes some twenty seconds, with one seed that is always the same and one that is new;
// "make fuzz-flow FUZZTIME=1h" as long as it is told to. See the variables FLOWDIFF_* in flowdiff_test.go.
//
// # Concurrency
//
// A Harness belongs to one goroutine. It starts its own ovs-vswitchd, with its own database and directory, as the user
// it runs as.
package flowdiff
