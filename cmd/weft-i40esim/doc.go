// Command weft-i40esim serves models of Intel X710 and XL710 cards on vfio-user sockets, for those who want to try a
// driver without a card: qemu plugs a socket into a guest as a PCI device.
//
//	guest's driver -- qemu vfio-user-pci ==socket==> i40esim.Device --+--> tap:NAME, an interface of the host
//	guest's iavf   -- qemu vfio-user-pci ==socket==> its VF           +--> pcap:FILE, replayed to the card
//	                                                                  +--> peer, a second card ==socket==> qemu
//
// Files: main.go the process, command.go flags and help, cards.go the kinds of card, run.go sockets, wires and the
// report at the end.
package main
