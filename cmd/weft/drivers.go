package main

import (
	"encoding/json"
	"maps"
	"slices"

	"weft/switch"
)

// drivers is the registry: what a port's driver is called in the configuration, and what makes it.
func drivers() map[string]vswitch.Driver {
	return map[string]vswitch.Driver{
		driverVhostUser: vhostUserDriver(),
		driverTap:       tapDriver(),
	}
}

func driverNames() []string { return slices.Sorted(maps.Keys(drivers())) }

// describeDetail prints what a driver says about its port beyond the common.
func describeDetail(p *vswitch.PortInfo) pairs {
	data, err := json.Marshal(p.Detail)
	if err != nil || p.Detail == nil {
		return nil
	}
	switch p.Driver {
	case driverVhostUser:
		return describeVhostUser(data)
	case driverTap:
		return describeTap(data)
	}
	return nil
}
