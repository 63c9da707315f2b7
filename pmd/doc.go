// Package pmd runs the PMD threads: goroutines locked to OS threads that are pinned to one CPU each and do nothing but
// poll receive queues. It decides which thread polls which queue, moves queues between threads while traffic flows,
// charges cycles to queues, and backs off when nothing arrives.
//
//	SetQueues, Move, Rebalance, Reconfigure            Synchronize, Stats
//	        |  assign: pin, then node, then load               ^
//	        v                                                  | iterations, cycles
//	   one immutable queue list a thread  --atomic pointer-->  |
//	                                                           |
//	   PMD thread:  +-> iterations++ (quiescent point) --------+
//	                |   list.Load()
//	                |   for each queue:  Receive -> Process -> Release, cycles charged
//	                +-- nothing came: pause, or nap, or wait for a queue to wake it
//
// It knows queues and not flows: what is done with a batch is the [Processor]'s business.
//
// # Concurrency
//
// The control side (every method of [Manager]) runs on ordinary goroutines and is serialised by the Manager's lock,
// except Synchronize, which takes none. A PMD thread takes no lock and never waits: it keeps its turn of Go's scheduler,
// except for what stops every goroutine (see [sys.Turn]), so nothing that it calls may block. Control tells it what to do
// through the atomic pointer to its queue list, and it tells control where it is through one atomic store per iteration,
// made when it holds no reference to anything it found through a list or a published table. A queue leaves one thread's
// list, that thread passes a quiescent point, and only then the queue enters another's: it is never polled by two
// threads.
//
// # Memory faults
//
// A port's memory may vanish under the loop: a guest's front end may truncate the file that it shares. The thread
// survives the SIGBUS and reports a [Fault] before its next quiescent point, thus while the mapping is still there, and
// its owner with it. The owner takes its memory away from all PMD threads, and polling goes on at once: a guest that does
// this again and again costs the others at most the packets of one batch that were on their way to it. Any other panic
// ends the process.
package pmd
