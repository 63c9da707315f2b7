package numa

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Topology is one machine's CPUs and nodes.
type Topology struct {
	root string
	// nodes and cpus ascend by ID.
	nodes    []Node
	cpus     []CPU
	isolated []int
	noHZFull []int
}

// Node is a NUMA node. It may have CPUs without memory, or memory without CPUs.
type Node struct {
	ID int
	// CPUs are those online, ascending.
	CPUs []int
}

// CPU is a logical CPU that is online.
type CPU struct {
	ID   int
	Node int
	// Siblings are the CPUs online that share its core, itself among them, ascending.
	Siblings []int
}

// HugepagePool is a node's pool of hugepages of one size.
type HugepagePool struct {
	// PageSize is in bytes; Total and Free are numbers of pages.
	PageSize    uint64
	Total, Free uint64
}

// Places in sysfs (Documentation/ABI: sysfs-devices-system-cpu, stable/sysfs-devices-node, sysfs-bus-pci).
const (
	cpuDir  = "sys/devices/system/cpu"
	nodeDir = "sys/devices/system/node"
	pciDir  = "sys/bus/pci/devices"
)

// Read reads the topology from the sysfs tree below root, which is "/" for this machine.
func Read(root string) (*Topology, error) {
	t := &Topology{root: root}
	online, err := t.readCPUs(cpuDir + "/online")
	if err != nil {
		return nil, fmt.Errorf("numa: read topology: %w", err)
	}
	if len(online) == 0 {
		return nil, fmt.Errorf("numa: read topology: %s names no CPU", t.path(cpuDir+"/online"))
	}
	if err := t.readNodes(online); err != nil {
		return nil, fmt.Errorf("numa: read topology: %w", err)
	}
	for _, c := range online {
		cpu := CPU{ID: c, Node: t.nodeListing(c), Siblings: []int{c}}
		siblings, err := t.readCPUs(fmt.Sprintf("%s/cpu%d/topology/thread_siblings_list", cpuDir, c))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("numa: read topology: %w", err)
		}
		if siblings = intersection(siblings, online); slices.Contains(siblings, c) {
			cpu.Siblings = siblings
		}
		t.cpus = append(t.cpus, cpu)
	}
	for name, to := range map[string]*[]int{"isolated": &t.isolated, "nohz_full": &t.noHZFull} {
		cpus, err := t.readCPUs(cpuDir + "/" + name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("numa: read topology: %w", err)
		}
		*to = intersection(cpus, online)
	}
	return t, nil
}

// readNodes fills in t.nodes. A kernel without NUMA has no directory of nodes: everything is node 0 then.
func (t *Topology) readNodes(online []int) error {
	ids, err := t.readCPUs(nodeDir + "/online")
	if errors.Is(err, fs.ErrNotExist) {
		t.nodes = []Node{{ID: 0, CPUs: online}}
		return nil
	}
	if err != nil {
		return err
	}
	for _, id := range ids {
		cpus, err := t.readCPUs(fmt.Sprintf("%s/node%d/cpulist", nodeDir, id))
		if err != nil {
			return err
		}
		t.nodes = append(t.nodes, Node{ID: id, CPUs: intersection(cpus, online)})
	}
	return nil
}

// nodeListing is the node that lists cpu, -1 when none does.
func (t *Topology) nodeListing(cpu int) int {
	for _, n := range t.nodes {
		if slices.Contains(n.CPUs, cpu) {
			return n.ID
		}
	}
	return -1
}

// Simulated reports that the topology does not describe this machine, but a tree that a test wrote.
func (t *Topology) Simulated() bool { return t.root != "/" }

// Nodes are the NUMA nodes, ascending by ID. The caller does not change them.
func (t *Topology) Nodes() []Node { return t.nodes }

// CPUs are the CPUs online, ascending by ID. The caller does not change them.
func (t *Topology) CPUs() []CPU { return t.cpus }

// CPU describes a CPU; ok is false when it is not online.
func (t *Topology) CPU(id int) (c CPU, ok bool) {
	i, found := slices.BinarySearchFunc(t.cpus, id, func(c CPU, id int) int { return c.ID - id })
	if !found {
		return CPU{}, false
	}
	return t.cpus[i], true
}

// NodeOfCPU is the node of a CPU, -1 when that is unknown or the CPU not online.
func (t *Topology) NodeOfCPU(id int) int {
	if c, ok := t.CPU(id); ok {
		return c.Node
	}
	return -1
}

// Isolated are the CPUs online that the kernel's scheduler leaves alone (isolcpus=, or an isolated cpuset partition).
func (t *Topology) Isolated() []int { return t.isolated }

// NoHZFull are the CPUs online without a timer tick while one thread runs (nohz_full=).
func (t *Topology) NoHZFull() []int { return t.noHZFull }

// Online are the CPUs online as plain numbers.
func (t *Topology) Online() []int {
	ids := make([]int, len(t.cpus))
	for i, c := range t.cpus {
		ids[i] = c.ID
	}
	return ids
}

// Hugepages reads a node's hugepage pools as they are now, ascending by page size. A kernel without NUMA keeps them in
// one place, which is node 0's.
func (t *Topology) Hugepages(node int) ([]HugepagePool, error) {
	dir := fmt.Sprintf("%s/node%d/hugepages", nodeDir, node)
	entries, err := os.ReadDir(t.path(dir))
	if errors.Is(err, fs.ErrNotExist) && node == 0 {
		dir = "sys/kernel/mm/hugepages"
		entries, err = os.ReadDir(t.path(dir))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no such node, or a kernel without hugepages
	}
	if err != nil {
		return nil, fmt.Errorf("numa: hugepages of node %d: %w", node, err)
	}
	var pools []HugepagePool
	for _, e := range entries {
		kb, ok := strings.CutPrefix(e.Name(), "hugepages-")
		size, err := strconv.ParseUint(strings.TrimSuffix(kb, "kB"), 10, 44)
		if !ok || err != nil {
			continue // not a pool
		}
		p := HugepagePool{PageSize: size << 10}
		if p.Total, err = t.readNumber(dir + "/" + e.Name() + "/nr_hugepages"); err != nil {
			return nil, fmt.Errorf("numa: hugepages of node %d: %w", node, err)
		}
		if p.Free, err = t.readNumber(dir + "/" + e.Name() + "/free_hugepages"); err != nil {
			return nil, fmt.Errorf("numa: hugepages of node %d: %w", node, err)
		}
		pools = append(pools, p)
	}
	slices.SortFunc(pools, func(a, b HugepagePool) int { return int(a.PageSize>>10) - int(b.PageSize>>10) })
	return pools, nil
}

// path is where name lies.
func (t *Topology) path(name string) string { return filepath.Join(t.root, name) }

// read is the text of a file of one line.
func (t *Topology) read(name string) (string, error) {
	b, err := os.ReadFile(t.path(name))
	return strings.TrimSpace(string(b)), err
}

// readCPUs reads a file with a list of CPUs or nodes. Linux writes "(null)" for a list that was never set.
func (t *Topology) readCPUs(name string) ([]int, error) {
	text, err := t.read(name)
	if err != nil {
		return nil, err
	}
	if text == "(null)" {
		return []int{}, nil
	}
	cpus, err := ParseCPUs(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.path(name), err)
	}
	return cpus, nil
}

func (t *Topology) readNumber(name string) (uint64, error) {
	text, err := t.read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", t.path(name), err)
	}
	return n, nil
}
