// Package e2e holds the end-to-end tests: the weft binary as an operator runs it, against front ends that others wrote.
// They are behind the build tag e2e, need root, and install what they lack.
//
//	 qemu guest          qemu guest        testpmd (virtio-user)      network namespace
//	+------------+      +------------+      +----------------+        +---------------+
//	| agent      |      | agent      |      | io, flowgen    |        | agent         |
//	+-----+------+      +-----+------+      +----+------+----+        +-------+-------+
//	      | vhost-user        | vhost-user       |      |                     | tap
//	+-----+-------------------+------------------+------+---------------------+-------+
//	|                              weft run -c FILE                                    |
//	+----------------------------------------------------------------------------------+
//
// The tests talk to the three kinds of host through one protocol, that of package agent. Everything they start belongs
// to a [weft/internal/e2e/host.Group] and dies with the test, whatever becomes of it.
package e2e
