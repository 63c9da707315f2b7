// Command instructions counts how many instructions a packet takes from a receive queue to a transmit queue. Time on a
// virtual machine wanders by half; this number does not, so that a change of one in a hundred shows, and tests hold it.
//
//	  this program                            the same program, as another process
//	+--------------------+    ptrace        +------------------------------------------+
//	| step, read RIP,    |  single steps    | PMD thread:  +-> lap: the ports' other   |
//	| count; by function | <--------------> |              |   ends take and send      |
//	|                    |                  |   counted -> |   Receive -> Process ->   |
//	| table, budget.txt  |  held still      |              +-- Transmit -> Release     |
//	+--------------------+ ---------------> | all other threads                        |
//	                                        +------------------------------------------+
//
// What is counted is the program's own loop, switch and rings, with what the compiler made of them. The other ends of the
// rings work on the PMD thread as well, in turns that are not counted. While that thread is stepped all others are held
// still, so that nothing of Go's runtime comes in between. The same packets take the same instructions within a few in ten
// thousand; only seeds of hashes differ from start to start.
//
// The processor's optional features are switched off for Go's runtime (GODEBUG=cpu.all=off), or else it would copy memory in a
// way that depends on the machine: here it does with SSE, and from 2 KiB on with REP MOVS, of which each turn counts as one
// instruction. So copies of long frames look dearer than they are. An instruction's cost is not one in time either: this
// table says what a change does to the code, `make bench` what it does to the rate.
package main
