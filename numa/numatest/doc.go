// Package numatest writes the sysfs tree of a machine that is not there, for tests of whatever places things on CPUs
// and nodes.
//
//	Machine{Nodes, Cores, PCI, ...} --> root/sys/devices/system/{cpu,node}
//	                                    root/sys/devices/pci*, root/sys/bus/pci/devices --> numa.Read(root)
package numatest
