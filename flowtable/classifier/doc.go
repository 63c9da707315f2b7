// Package classifier finds the rule of highest priority that a key fulfils, among the rules of one OpenFlow table. It
// knows matches and priorities and neither actions nor packets: a rule is a slot number of the caller's and 32 bits of
// the caller's data.
//
//	key ---> View: tuples by falling highest priority       (stops when no later one can be better)
//	           |  hash of key under the tuple's mask
//	           v
//	         Tuple: segments of places  tag 32 | block 32   (most keys end here: no tag, no rule)
//	           |
//	           v
//	         block: entries by falling priority, each with its own mask's words, visible from..until, slot and data
//
// # Merged tuples
//
// Tuple space search (Srinivasan, Suri and Varghese, SIGCOMM 1999) has a hash table for every distinct mask, and a lookup
// searches them all. Here a tuple takes every rule whose mask has at least the tuple's bits, as TupleMerge does (Daly et
// al., IEEE/ACM ToN 2019): rules that the tuple cannot tell apart share a block, at most [bucketLimit] of them with
// different matches, and are compared one by one. While a table has few masks each has its own tuple. With more, a plan
// chooses tuples: greedily, always the one that takes the most of the rules that are left without filling a block.
// Whatever matched, the caller's cache holds flows under the union of all masks, so that merging changes no outcome.
//
// # Changes
//
// There is one writer. Blocks are replaced and not changed, but for the generations from and until which an entry is
// seen; places, segments and directories are swapped atomically. Adding or removing a rule copies one block and now and
// then one segment. A small tuple that lost its last rule is kept for its rules to come back. A better plan moves rules in
// bounded steps: a rule is entered at its new place, and leaves the old one when no reader is left that may have passed the
// new one before. Memory goes back when the caller says that the epoch of its retirement is over; nobody waits.
//
// # Concurrency
//
// A [View] may be used by any number of threads while the writer works; [Store] and [Table] belong to the writer, whose
// caller has a mutex.
//
// # Hostile input
//
// Keys change nothing here. What a lookup can cost is bounded by the rules: the number of tuples, and the length of one
// block in each. Hashes are seeded. Arrays hold no pointers, so that rules cost the collector nothing.
package classifier
