// Command demo is "make demo": two qemu guests and a network namespace, joined by Weft, that reach each other in every
// direction.
//
//	  vm1 10.1.0.1        vm2 10.1.0.2        wire 10.1.0.3
//	+--------------+    +--------------+    +----------------+
//	| qemu guest   |    | qemu guest   |    | net namespace  |
//	+------+-------+    +------+-------+    +-------+--------+
//	       | vhost-user        | vhost-user         | tap weft-wire
//	+------+-------------------+--------------------+--------+
//	|        weft run -c configs/demo.yaml                    |
//	+---------------------------------------------------------+
//
// It exits with status 0 only if every pair worked. It removes whatever it made, unless KEEP=1 asks for it to be left.
package main
