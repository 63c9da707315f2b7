package numa

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
)

// PCINode reads the node that a PCI slot, such as "0000:3b:00.0" (the domain may be left out), is attached to. It is -1
// when the firmware does not say and the machine has more than one node.
func (t *Topology) PCINode(slot string) (int, error) {
	full, err := parseSlot(slot)
	if err != nil {
		return -1, err
	}
	text, err := t.read(pciDir + "/" + full + "/numa_node")
	if errors.Is(err, fs.ErrNotExist) {
		// A kernel without NUMA has the device but not the file.
		if _, err := t.read(pciDir + "/" + full + "/vendor"); err != nil {
			return -1, fmt.Errorf("numa: there is no PCI device %s: `lspci -D` lists those there are", full)
		}
		text, err = "-1", nil
	}
	if err != nil {
		return -1, fmt.Errorf("numa: node of PCI device %s: %w", full, err)
	}
	node, err := strconv.Atoi(text)
	if err != nil {
		return -1, fmt.Errorf("numa: node of PCI device %s: %w", full, err)
	}
	if node < 0 && len(t.nodes) == 1 {
		return t.nodes[0].ID, nil
	}
	return max(node, -1), nil
}

// parseSlot checks a slot, domain:bus:device.function in hexadecimal, and adds the domain 0000 when it is left out.
// What it returns is safe as a file name.
func parseSlot(slot string) (string, error) {
	full := slot
	if len(slot) == len("3b:00.0") {
		full = "0000:" + slot
	}
	const pattern = "hhhh:hh:hh.h"
	ok := len(full) == len(pattern)
	for i := 0; ok && i < len(pattern); i++ {
		if pattern[i] == 'h' {
			ok = '0' <= full[i] && full[i] <= '9' || 'a' <= full[i] && full[i] <= 'f'
		} else {
			ok = full[i] == pattern[i]
		}
	}
	if !ok {
		return "", fmt.Errorf("numa: %q is not a PCI slot: write it like 0000:3b:00.0", slot)
	}
	return full, nil
}
