// Package agent is the program that sits in a qemu guest, or in a network namespace that stands for the wire, and does
// what a test tells it: configure an address, ping, move bytes over TCP, count, run programs.
//
//	test, demo                                guest or network namespace
//	+--------+   one JSON object per line    +---------------------------+
//	| Client | ----------------------------> | Server  -> addr, ping,    |
//	|        | <---------------------------- |            tcp-send ...   |
//	+--------+   serial port, unix socket    +---------------------------+
//
// A request carries a number that its reply repeats, so that a long ping and other commands run side by side. A line
// that does not begin with "{" is taken as words typed by a person: "ping 10.1.0.2 5".
//
// # Concurrency
//
// Client methods may be called from any goroutine. The server runs each request on its own goroutine.
package agent
