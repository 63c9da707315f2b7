package flow

import "fmt"

// Fragments says what rules see of the ports, or the ICMP type and code, of IP fragments (ovs-ofctl(8), "set-frags").
type Fragments uint8

// The modes.
const (
	FragmentsNormal Fragments = iota // nothing: they are 0 in every fragment, as in Open vSwitch when nobody says otherwise
	FragmentsMatch                   // what the first fragment has; in later ones they are 0 (nx-match)
	FragmentsDrop                    // fragments are dropped
)

var fragmentModes = [...]string{"normal", "nx-match", "drop"}

// String is the mode's name in ovs-ofctl set-frags.
func (f Fragments) String() string {
	if int(f) < len(fragmentModes) {
		return fragmentModes[f]
	}
	return "unknown"
}

// ParseFragments finds a mode by its name; "" is normal.
func ParseFragments(name string) (Fragments, error) {
	if name == "" {
		return FragmentsNormal, nil
	}
	for i, s := range fragmentModes {
		if s == name {
			return Fragments(i), nil
		}
	}
	return 0, fmt.Errorf("flowtable: %q is no way to treat fragments: use normal, nx-match or drop", name)
}
