package numa

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"weft/numa/numatest"
)

func mustRead(t *testing.T, root string) *Topology {
	t.Helper()
	topo, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

func TestParseCPUs(t *testing.T) {
	for _, c := range []struct {
		text string
		want []int
	}{
		{"", []int{}},
		{"\n", []int{}},
		{"0", []int{0}},
		{"0-3,8", []int{0, 1, 2, 3, 8}},
		{"8,0-1", []int{0, 1, 8}},
		{"1,1,0-2", []int{0, 1, 2}},
		{" 4 , 6 ", []int{4, 6}},
		{"8191", []int{8191}},
	} {
		got, err := ParseCPUs(c.text)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("ParseCPUs(%q) = %v, %v; want %v", c.text, got, err, c.want)
		}
	}
	for _, bad := range []string{
		"a", "1-", "-1", "3-1", "1,,2", "0-8192", "0x3", "1-2-3", "+1", "99999999999999999999", ",",
	} {
		if got, err := ParseCPUs(bad); err == nil {
			t.Errorf("ParseCPUs(%q) = %v, want an error", bad, got)
		} else if !strings.Contains(err.Error(), bad) {
			t.Errorf("ParseCPUs(%q): the error does not quote the list: %v", bad, err)
		}
	}
}

func TestFormatCPUs(t *testing.T) {
	for want, cpus := range map[string][]int{
		"": nil, "5": {5}, "0-1": {0, 1}, "0-3,8": {0, 1, 2, 3, 8}, "1,3,5": {1, 3, 5},
	} {
		if got := FormatCPUs(cpus); got != want {
			t.Errorf("FormatCPUs(%v) = %q, want %q", cpus, got, want)
		}
	}
}

func FuzzParseCPUs(f *testing.F) {
	for _, s := range []string{"", "0-3,8", "1,,2", "8191", "3-1", "(null)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cpus, err := ParseCPUs(text)
		if err != nil {
			return
		}
		again, err := ParseCPUs(FormatCPUs(cpus))
		if err != nil || !slices.Equal(cpus, again) {
			t.Fatalf("%q is %v, formatted and parsed again %v, %v", text, cpus, again, err)
		}
	})
}

func TestTwoNodesAreReadWithSiblingsAndPools(t *testing.T) {
	topo := mustRead(t, numatest.TwoNodes(t))
	want := []Node{{0, []int{0, 1, 2, 3, 8, 9, 10, 11}}, {1, []int{4, 5, 6, 7, 12, 13, 14, 15}}}
	if !reflect.DeepEqual(topo.Nodes(), want) {
		t.Errorf("nodes %v, want %v", topo.Nodes(), want)
	}
	if len(topo.CPUs()) != 16 || !topo.Simulated() {
		t.Errorf("%d CPUs, simulated %v; want 16, true", len(topo.CPUs()), topo.Simulated())
	}
	if c, ok := topo.CPU(13); !ok || c.Node != 1 || !slices.Equal(c.Siblings, []int{5, 13}) {
		t.Errorf("CPU 13 is %+v, %v; want node 1 and siblings 5, 13", c, ok)
	}
	if _, ok := topo.CPU(16); ok || topo.NodeOfCPU(16) != -1 {
		t.Error("CPU 16 is not there but was found")
	}
	pools, err := topo.Hugepages(1)
	wantPools := []HugepagePool{{PageSize: 2 << 20, Total: 512, Free: 12}, {PageSize: 1 << 30, Total: 4, Free: 0}}
	if err != nil || !reflect.DeepEqual(pools, wantPools) {
		t.Errorf("hugepages of node 1: %v, %v; want %v", pools, err, wantPools)
	}
	if len(topo.Isolated())+len(topo.NoHZFull()) != 0 {
		t.Errorf("isolated %v, nohz_full %v; want none", topo.Isolated(), topo.NoHZFull())
	}
}

func TestIsolatedAndOfflineCPUs(t *testing.T) {
	m := numatest.TwoNodeMachine()
	m.Online, m.Isolated, m.NoHZFull = "0-10", "2-3,10-11", "3"
	topo := mustRead(t, numatest.Write(t, m))
	if got := FormatCPUs(topo.Isolated()); got != "2-3,10" {
		t.Errorf("isolated %s, want 2-3,10: 11 is offline", got)
	}
	if got := FormatCPUs(topo.NoHZFull()); got != "3" {
		t.Errorf("nohz_full %s, want 3", got)
	}
	if c, _ := topo.CPU(3); !slices.Equal(c.Siblings, []int{3}) {
		t.Errorf("CPU 3's siblings are %v, want only itself: 11 is offline", c.Siblings)
	}
	if n := topo.Nodes()[1]; !slices.Equal(n.CPUs, []int{4, 5, 6, 7}) {
		t.Errorf("node 1 has CPUs %v, want 4-7", n.CPUs)
	}
}

func TestKernelWithoutNUMAIsOneNode(t *testing.T) {
	topo := mustRead(t, numatest.Write(t, numatest.Machine{Online: "0-1", PCI: map[string]int{"0000:00:03.0": -1}}))
	if want := []Node{{0, []int{0, 1}}}; !reflect.DeepEqual(topo.Nodes(), want) {
		t.Errorf("nodes %v, want %v", topo.Nodes(), want)
	}
	if n, err := topo.PCINode("0000:00:03.0"); n != 0 || err != nil {
		t.Errorf("PCI node %d, %v; want 0: there is no other", n, err)
	}
	if pools, err := topo.Hugepages(0); len(pools) != 0 || err != nil {
		t.Errorf("hugepages %v, %v; want none and no error", pools, err)
	}
}

func TestNodeWithoutCPUsIsKept(t *testing.T) {
	m := numatest.TwoNodeMachine()
	m.Nodes[2] = numatest.Node{} // memory only
	topo := mustRead(t, numatest.Write(t, m))
	if len(topo.Nodes()) != 3 || len(topo.Nodes()[2].CPUs) != 0 {
		t.Errorf("nodes %v, want three, the last without CPUs", topo.Nodes())
	}
	if got := topo.DefaultCPUs(topo.Online()); len(got) != 2 {
		t.Errorf("default CPUs %v, want one for each node that has any", got)
	}
}

func TestReadReportsWhatIsWrongWithTheTree(t *testing.T) {
	if _, err := Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "online") {
		t.Errorf("an empty tree: %v, want an error that names the file", err)
	}
	for _, bad := range []string{
		"devices/system/cpu/online", "devices/system/node/online", "devices/system/node/node1/cpulist",
		"devices/system/cpu/cpu5/topology/thread_siblings_list", "devices/system/cpu/isolated",
	} {
		root := numatest.TwoNodes(t)
		if err := os.WriteFile(filepath.Join(root, "sys", bad), []byte("rubbish\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(root); err == nil || !strings.Contains(err.Error(), "rubbish") ||
			!strings.Contains(err.Error(), filepath.Base(bad)) {
			t.Errorf("rubbish in %s: %v, want an error that names file and text", bad, err)
		}
	}
}

func TestPCINode(t *testing.T) {
	topo := mustRead(t, numatest.TwoNodes(t))
	for slot, want := range map[string]int{
		"0000:3b:00.0": 0, "0000:af:00.0": 1, "af:00.0": 1, "0000:00:1f.2": -1,
	} {
		if got, err := topo.PCINode(slot); got != want || err != nil {
			t.Errorf("PCINode(%s) = %d, %v; want %d", slot, got, err, want)
		}
	}
	for _, bad := range []string{
		"0000:3c:00.0", "", "../../../x", "0000:3B:00.0", "0000:3b:00:0", "0000-3b-00.0", "g000:3b:00.0",
	} {
		if got, err := topo.PCINode(bad); err == nil || got != -1 {
			t.Errorf("PCINode(%q) = %d, %v; want -1 and an error", bad, got, err)
		}
	}
}

func TestThisMachineIsRead(t *testing.T) {
	topo := mustRead(t, "/")
	if topo.Simulated() || len(topo.CPUs()) == 0 || len(topo.Nodes()) == 0 {
		t.Fatalf("%d CPUs on %d nodes, simulated %v", len(topo.CPUs()), len(topo.Nodes()), topo.Simulated())
	}
	for _, n := range topo.Nodes() {
		if _, err := topo.Hugepages(n.ID); err != nil {
			t.Error(err)
		}
	}
}
