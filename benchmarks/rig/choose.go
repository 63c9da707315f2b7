package rig

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Choose finds the scenarios that a list with commas names. selections are the names of what can be chosen together, for
// the error; the caller has looked for those before.
func Choose[S any](all []S, name func(*S) string, list string, selections ...string) ([]S, error) {
	var chosen []S
	for _, wanted := range strings.Split(list, ",") {
		i := slices.IndexFunc(all, func(s S) bool { return name(&s) == wanted })
		if i < 0 {
			known := slices.Clone(selections)
			for i := range all {
				known = append(known, name(&all[i]))
			}
			return nil, fmt.Errorf("-scenarios: %q is none of %s", wanted, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// NoFigures says of which scenarios there are no figures; nil if there are of all.
func NoFigures(failed []string) error {
	if len(failed) == 0 {
		return nil
	}
	return errors.New("no figures for " + strings.Join(failed, ", "))
}
