// Package host prepares the machine that end-to-end tests, the demonstration and the benchmark run on, and cleans up
// after them.
//
//	             +-- Install    Debian packages that are missing, services not started
//	machine <----+-- Hugepages  reserved for the run, given back afterwards
//	             +-- Group      every process started, killed in reverse order
//	             +-- Namespace  a network namespace with an agent in it: the wire
//
// Only processes that a Group started are ever signalled, by their process id.
//
// # Concurrency
//
// A Group may be used from any goroutine. Its processes die with the parent, even if the parent is killed.
package host
