// Package classbench makes rule sets and headers like those of the packet classification literature, for tests and
// benchmarks.
//
//	Kind --Generate--> []Filter --Expand--> []Rule    prefixes, protocol, port ranges -> matches with masks, priorities
//	                                          |
//	                                Trace, Corner --> keys
//
// The model is that of ClassBench (Taylor and Turner, "ClassBench: A Packet Classification Benchmark", IEEE/ACM ToN,
// 2007): a filter is drawn as a protocol with a pair of port classes (any, 0:1023, 1024:65535, another range, one port),
// then a pair of prefix lengths that goes with the classes, then the addresses, from two binary trees whose branching and skew
// at each depth say how prefixes cluster and nest, with a probability at each depth that the destination follows the
// source. The parameters are the means of the twelve published parameter files, five of access control lists, five of
// firewalls and two of IP chains, rounded, their tails left out.
package classbench
