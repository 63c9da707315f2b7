// Package flowtable decides what happens to a packet: rules in Open vSwitch's syntax, tables, a classifier, and for
// each PMD thread a cache of what flows resolved to. It knows keys and not ports: what it returns are ops, plain data
// that the switch carries out.
//
//	"table=0,ip,nw_dst=10.0.0.0/8,actions=2"
//	      | ParseRule                          PMD thread, per batch
//	      v                                    ---------------------
//	  []Change --Apply--> Pipeline             extract: window -> key, as deep as the rules look
//	                         |                    |
//	           one state, atomic pointer          v masked by the union of the rules' masks
//	                         |                 cache: key -> path ----hit----+
//	                         v                    | miss                     |
//	    table 0..253: see package classifier <----+                          v
//	      key -> rule of highest priority --> composed program --intern--> path: ops, rules to credit
//
// # Semantics
//
// Fields, prerequisites and what malformed packets look like are Open vSwitch's, with its vlan-limit=2: two tags are
// looked through to the EtherType, the outer one is matched. A table without a matching rule drops (there is no
// controller). Rules of one priority that overlap and are not the same match: which of them wins is undefined, as in
// OpenFlow.
//
// # Changing rules
//
// A transaction enters new versions of rules into hash tables that PMD threads are reading, invisible to them, since
// every version says from which generation to which it is seen; publishing the next generation shows all of it at once.
// Adding a rule replaces one block of at most 24 rules, now and then one segment of a hash table (at most 4096 places),
// and for a new mask perhaps the list of the table's tuples. What nobody sees any more is unlinked when no Lookup is
// inside a batch of an earlier epoch, and its memory is used again one epoch later; nothing ever waits. Tables of many
// masks are laid out anew now and then by Expire, in steps of less than a millisecond.
//
// A cached flow knows the generation it was resolved in. When the generation has moved on, the flow's key is compared
// with the matches that changed since, up to 64 generations: one by one, some nanoseconds each, or, of a generation that
// changed more than 16 rules, in a Bloom filter for each mask, up to 8192 rules of up to 8 masks. Only a flow that one of
// them touches, or that is further behind, is classified again, once. Only a rule that looks at bits
// of the key at which no rule looked before, and the end of such rules after ten seconds, gives keys a new layout and
// empties the caches.
//
// # Cost
//
// A rule takes about 180 bytes (with three words of key; 88 of them in the classifier), a cached flow 32 or 64 bytes (128
// with IPv6 addresses) and about 80 for its path when that is its own, and a Lookup 32 bytes for each rule's counters.
// Records, classifier and caches hold no pointers. Paths are freed with the last cached flow that names them, one at a
// time, so that neither many rules in use nor rules that come and go ever empty a cache or stop a thread.
//
// # Concurrency
//
// A [Pipeline] is safe for any goroutine. A [Lookup] belongs to one PMD thread. Rules, filters and ops are plain data.
//
// # Hostile input
//
// Packets: read once from the header window, every length checked against the frame and the window; a fuzzer shows that
// nothing panics. Headers that push what rules look at out of the window are pulled into it, and beyond its greatest
// length the packet is dropped, so that no chain of headers gets past a rule. Packets cannot make tuples, and programs
// and cache entries are bounded. Hashes are seeded. Rules are trusted to the extent that they are bounded: 64 nested and
// 4096 resubmits for a packet, 1024 ops for a program.
package flowtable
