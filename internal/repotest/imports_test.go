package repotest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// anything allows a package to import every other.
const anything = "*"

// imports says which packages of ours each package may import. A package that is not a key fails, as does an import
// that is not in its row: the directions are the architecture, and a new one is a decision.
var imports = map[string][]string{
	"internal/sys":         {},
	"internal/packet":      {},
	"internal/vfiouser":    {"internal/sys"},
	"switch/control":       {},
	"switch/metrics":       {},
	"numa":                 {"internal/sys"},
	"numa/numatest":        {"numa", "internal/sys"},
	"flowtable/flow":       {"internal/packet"},
	"flowtable/flowtest":   {"flowtable/flow"},
	"flowtable/classifier": {"flowtable/flow"},
	"flowtable/classbench": {"flowtable/flow"},
	"flowtable/ofctl":      {"flowtable/flow", "internal/packet"},
	"flowtable":            {"flowtable/flow", "flowtable/ofctl", "flowtable/classifier", "internal/packet"},
	"vhostuser/virtq":      {"internal/packet", "internal/sys"},
	"vhostuser":            {"vhostuser/virtq", "numa", "internal/packet", "internal/sys"},
	"vhostuser/vhosttest":  {"vhostuser", "vhostuser/virtq", "internal/packet", "internal/sys"},
	"pmd":                  {"numa", "internal/packet", "internal/sys"},
	"pmd/tap":              {"numa", "internal/packet", "internal/sys"},
	"pmd/memport":          {"numa", "internal/packet", "internal/sys"},
	"switch":               {"pmd", "flowtable", "flowtable/flow", "flowtable/ofctl", "numa", "internal/packet"},
	"cmd/weft":             {anything},

	// The model of a network card.
	"pmd/i40e/i40esim":          {"internal/sys", "internal/vfiouser", "pmd/i40e/i40esim/..."},
	"pmd/i40e/i40esim/adminq":   {"pmd/i40e/i40esim/ddp"}, // in tests
	"pmd/i40e/i40esim/ddp":      {},
	"pmd/i40e/i40esim/virtchnl": {"pmd/i40e/i40esim/adminq"},
	"pmd/i40e/i40esim/frame":    {},
	"pmd/i40e/i40esim/lan":      {"pmd/i40e/i40esim/frame"},
	"pmd/i40e/i40esim/wire":     {"internal/sys"},
	"cmd/weft-i40esim":          {"pmd/i40e/i40esim/...", "internal/vfiouser"},

	// What starts the program instead of being part of it.
	"internal/repotest":       {},
	"internal/flowdiff":       {"switch", "pmd/memport", "numa", "internal/packet", "internal/e2e/host"},
	"internal/e2e":            {"internal/e2e/..."},
	"internal/e2e/agent":      {},
	"internal/e2e/guest":      {},
	"internal/e2e/guest/init": {"internal/e2e/agent"},
	"internal/e2e/host":       {"internal/e2e/agent"},
	"internal/e2e/vm":         {"internal/e2e/agent", "internal/e2e/guest", "internal/e2e/host"},
	"internal/e2e/testpmd":    {"internal/e2e/host"},
	"internal/e2e/ovs":        {"internal/e2e/host"},
	"internal/e2e/daemon":     {"internal/e2e/host"},
	"internal/e2e/demo":       {"internal/e2e/..."},
	"internal/e2e/trixie":     {"internal/e2e/host"},
	"internal/e2e/i40e":       {"internal/e2e/...", "internal/sys", "internal/vfiouser", "pmd/i40e/i40esim/..."},
	"benchmarks/rig":          {"internal/sys"},
	"benchmarks/compare":      {"benchmarks/rig", "internal/e2e/..."},
	"benchmarks/instructions": {
		"benchmarks/rig", "switch", "pmd/memport", "vhostuser/virtq", "vhostuser/vhosttest", "flowtable/classbench",
		"flowtable/flow", "flowtable/flowtest", "flowtable/ofctl", "numa", "internal/packet", "internal/sys",
	},
	"benchmarks/stress": {"benchmarks/rig", "internal/e2e/...", "internal/sys", "switch/control", "vhostuser/vhosttest"},
}

// testHelpers are packages for tests: every test file may import them, beside what its package may.
var testHelpers = []string{"flowtable/flowtest", "flowtable/classbench", "vhostuser/vhosttest", "pmd/memport", "numa/numatest"}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	unlisted := make(map[string]bool)
	for _, f := range sources(t) {
		allowed, listed := imports[f.dir]
		if !listed {
			if !unlisted[f.dir] {
				t.Errorf("%s: package is not in the import table (DESIGN: layout and import directions)", f.dir)
			}
			unlisted[f.dir] = true
			continue
		}
		for _, spec := range f.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			target, ours := strings.CutPrefix(path, module+"/")
			if !ours || mayImport(allowed, target) {
				continue
			}
			if f.test && (target == f.dir || slices.Contains(testHelpers, target)) {
				continue
			}
			t.Errorf("%s: %s must not import %s; allowed: %v", f.pos(spec), f.dir, target, allowed)
		}
	}
}

func mayImport(allowed []string, target string) bool {
	for _, a := range allowed {
		tree, isTree := strings.CutSuffix(a, "/...")
		if a == anything || a == target || isTree && (target == tree || strings.HasPrefix(target, tree+"/")) {
			return true
		}
	}
	return false
}

// TestDriversAndSwitchAreStrangers states the two directions that carry the design in plain words, so that a careless
// edit of the table above does not go unseen.
func TestDriversAndSwitchAreStrangers(t *testing.T) {
	for _, pair := range [][2]string{
		{"switch", "vhostuser"},
		{"switch", "pmd/tap"},
		{"pmd", "flowtable"},
		{"pmd/tap", "pmd"},
		{"flowtable", "switch"},
		{"flowtable", "pmd"},
		{"vhostuser", "pmd"},
		{"vhostuser", "switch"},
		{"internal/packet", "internal/sys"},
		{"switch/metrics", "switch"},
	} {
		if mayImport(imports[pair[0]], pair[1]) {
			t.Errorf("the import table lets %s import %s", pair[0], pair[1])
		}
	}
}
