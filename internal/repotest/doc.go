// Package repotest holds the repository's own rules as tests: who may import whom, where unsafe code may live, what
// every package must have, how long a file may be.
//
//	every *.go, *.s, Makefile          the rules
//	+--------------------+      +---------------------------+
//	| parsed once, by    | ---> | imports, unsafe, syscalls |
//	| go/parser          |      | doc.go, globals, lengths  | ---> one line for each breach
//	+--------------------+      +---------------------------+
//
// The tests read source text only; they build and run nothing, and take a second or two.
package repotest
