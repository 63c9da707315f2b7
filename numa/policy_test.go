package numa

import (
	"testing"

	"weft/numa/numatest"
)

func TestDefaultCPUs(t *testing.T) {
	two := numatest.TwoNodeMachine()
	isolated := numatest.TwoNodeMachine()
	isolated.Isolated = "2-3,10-11,6,14"
	isolatedOne := numatest.TwoNodeMachine()
	isolatedOne.Isolated = "5-7,13-15"
	smtVM := numatest.Machine{Online: "0-1", Nodes: map[int]numatest.Node{0: {CPUs: "0-1"}}, Cores: []string{"0,1"}}
	vm := numatest.Machine{Online: "0-1", Nodes: map[int]numatest.Node{0: {CPUs: "0-1"}}}
	single := numatest.Machine{Online: "0"}
	twoCores := numatest.Machine{
		Online: "0-3", Nodes: map[int]numatest.Node{0: {CPUs: "0,2"}, 1: {CPUs: "1,3"}}, Cores: []string{"0,2", "1,3"},
	}
	oneEach := numatest.Machine{Online: "0-1", Nodes: map[int]numatest.Node{0: {CPUs: "0"}, 1: {CPUs: "1"}}}
	threeCores := numatest.Machine{
		Online: "0-5", Nodes: map[int]numatest.Node{0: {CPUs: "0-1,3-4"}, 1: {CPUs: "2,5"}},
		Cores: []string{"0,3", "1,4", "2,5"},
	}
	for _, c := range []struct {
		name    string
		machine numatest.Machine
		allowed string
		want    string
	}{
		{"one for each node, the last core's last CPU", two, "0-15", "11,15"},
		{"isolated CPUs are preferred, one for each node", isolated, "0-15", "2,6"},
		{"a node without isolated CPUs gets an ordinary one", isolatedOne, "0-15", "5,11"},
		{"isolated CPUs that are not allowed do not count", isolated, "0-1,4-5,8-9,12-13", "9,13"},
		{"only the node that is allowed", two, "0-3", "3"},
		{"one CPU of a core is allowed", two, "0-2,11", "11"},
		{"the two threads of one core: one is left", smtVM, "0-1", "1"},
		{"two CPUs", vm, "0-1", "1"},
		{"a single CPU is shared", single, "0", "0"},
		{"one CPU is allowed of many", two, "6", "6"},
		{"two cores on two nodes: one whole core is left", twoCores, "0-3", "3"},
		{"a core is left though not all of it is allowed", threeCores, "0-2,5", "1,5"},
		{"no core is left: the first node goes without", threeCores, "1-2,5", "5"},
		{"two CPUs on two nodes: one is left", oneEach, "0-1", "1"},
		{"a CPU that is not online is not chosen", vm, "1,7", "1"},
		{"nothing is allowed", vm, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			allowed, err := ParseCPUs(c.allowed)
			if err != nil {
				t.Fatal(err)
			}
			topo := mustRead(t, numatest.Write(t, c.machine))
			if got := FormatCPUs(topo.DefaultCPUs(allowed)); got != c.want {
				t.Errorf("chose %q, want %q", got, c.want)
			}
		})
	}
}
