// Package testpmd runs DPDK's testpmd, either as the load (two virtio-user ports whose packets go round) or as a switch
// to compare with (two vhost ports).
//
//	    the load                              the switch
//	+--------------------+                +------------------+
//	| io: port 0 -> 1    |  vhost-user    |                  |
//	| virtio_user 0 -----+----------------+--- port V0       |
//	| virtio_user 1 -----+----------------+--- port V1       |
//	| io: port 1 -> 0    |                |                  |
//	+--------------------+                +------------------+
//
// A burst that the load sends first circulates for ever: it is received at the other port and sent again.
package testpmd
