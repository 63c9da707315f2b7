// Package ovs runs a private Open vSwitch with DPDK: its own database, sockets and network namespace, so that one that
// the machine may have is neither seen nor touched.
//
//	DIR/conf.db --- ovsdb-server --- DIR/db.sock --- ovs-vswitchd (DPDK, netdev datapath)
//	                                                   |            |
//	                                   dpdkvhostuserclient V0    V1
package ovs
