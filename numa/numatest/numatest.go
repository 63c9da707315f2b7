package numatest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Machine is what a tree says. CPU lists are in the kernel's notation, "0-3,8".
type Machine struct {
	// Online are the CPUs online.
	Online string
	// Nodes are the NUMA nodes by number. With nil, the tree has no directory of nodes, as of a kernel without NUMA.
	Nodes map[int]Node
	// Cores lists the CPUs of each core with more than one.
	Cores []string
	// Isolated and NoHZFull are the kernel's parameters of these names.
	Isolated, NoHZFull string
	// PCI maps slots to nodes, -1 where the firmware says nothing.
	PCI map[string]int
}

// Node is one NUMA node.
type Node struct {
	CPUs string
	// Free2M and Total2M are the numbers of 2 MiB hugepages, Free1G and Total1G of 1 GiB.
	Free2M, Total2M int
	Free1G, Total1G int
}

// TwoNodeMachine has two nodes of four cores with two CPUs each. CPUs n and n+8 share a core; node 0 has CPUs 0-3 and
// 8-11, node 1 CPUs 4-7 and 12-15. 0000:3b:00.0 is on node 0, 0000:af:00.0 on node 1, 0000:00:1f.2 on neither.
func TwoNodeMachine() Machine {
	return Machine{
		Online: "0-15",
		Nodes: map[int]Node{
			0: {CPUs: "0-3,8-11", Total2M: 512, Free2M: 500, Total1G: 4, Free1G: 4},
			1: {CPUs: "4-7,12-15", Total2M: 512, Free2M: 12, Total1G: 4, Free1G: 0},
		},
		Cores: []string{"0,8", "1,9", "2,10", "3,11", "4,12", "5,13", "6,14", "7,15"},
		PCI:   map[string]int{"0000:3b:00.0": 0, "0000:af:00.0": 1, "0000:00:1f.2": -1},
	}
}

// TwoNodes writes TwoNodeMachine's tree and returns its root for numa.Read.
func TwoNodes(tb testing.TB) (root string) {
	tb.Helper()
	return Write(tb, TwoNodeMachine())
}

// Write writes m's tree into a directory that lasts as long as the test, and returns it.
func Write(tb testing.TB, m Machine) (root string) {
	tb.Helper()
	w := writer{tb: tb, root: tb.TempDir()}
	const cpuDir = "sys/devices/system/cpu"
	w.file(cpuDir+"/online", m.Online)
	w.file(cpuDir+"/isolated", m.Isolated)
	if m.NoHZFull == "" {
		m.NoHZFull = "(null)" // as Linux prints a mask that was never set
	}
	w.file(cpuDir+"/nohz_full", m.NoHZFull)
	for _, core := range m.Cores {
		for c := range strings.SplitSeq(core, ",") {
			w.file(cpuDir+"/cpu"+c+"/topology/thread_siblings_list", core)
		}
	}
	w.nodes(m.Nodes)
	for slot, node := range m.PCI {
		w.device(slot, node)
	}
	return w.root
}

// writer writes files and fails the test when it cannot.
type writer struct {
	tb   testing.TB
	root string
}

func (w writer) file(name, line string) {
	w.tb.Helper()
	path := filepath.Join(w.root, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(line+"\n"), 0o644)
	}
	if err != nil {
		w.tb.Fatalf("fake sysfs: %v", err)
	}
}

func (w writer) nodes(nodes map[int]Node) {
	w.tb.Helper()
	if nodes == nil {
		return
	}
	const nodeDir = "sys/devices/system/node"
	var ids []string
	for id, n := range nodes {
		ids = append(ids, fmt.Sprint(id))
		dir := fmt.Sprintf("%s/node%d", nodeDir, id)
		w.file(dir+"/cpulist", n.CPUs)
		w.file(dir+"/hugepages/hugepages-2048kB/nr_hugepages", fmt.Sprint(n.Total2M))
		w.file(dir+"/hugepages/hugepages-2048kB/free_hugepages", fmt.Sprint(n.Free2M))
		w.file(dir+"/hugepages/hugepages-1048576kB/nr_hugepages", fmt.Sprint(n.Total1G))
		w.file(dir+"/hugepages/hugepages-1048576kB/free_hugepages", fmt.Sprint(n.Free1G))
	}
	w.file(nodeDir+"/online", strings.Join(ids, ","))
}

// device writes a PCI device where Linux has it, below its bus, and the link to it.
func (w writer) device(slot string, node int) {
	w.tb.Helper()
	domainBus := slot[:len("0000:3b")]
	dir := "devices/pci" + domainBus + "/" + slot
	w.file("sys/"+dir+"/numa_node", fmt.Sprint(node))
	w.file("sys/"+dir+"/vendor", "0x8086")
	links := filepath.Join(w.root, "sys/bus/pci/devices")
	err := os.MkdirAll(links, 0o755)
	if err == nil {
		err = os.Symlink("../../../"+dir, filepath.Join(links, slot))
	}
	if err != nil {
		w.tb.Fatalf("fake sysfs: %v", err)
	}
}
