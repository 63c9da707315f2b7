package vswitch

import (
	"slices"

	"weft/pmd"
)

// onFault makes the port whose memory was cut off let go of it, and reports whether there is one. The pmd package calls
// it on the PMD thread that had the fault, before that thread's next quiescent point: the port's mapping is there still,
// and the address can be no one else's. Without an owner nobody is blamed, least of all the port that was being polled,
// which usually is a stranger to the one that it was sending to.
func (s *Switch) onFault(f pmd.Fault) (owned bool) {
	s.faults.Add(1)
	for _, d := range *s.devices.Load() {
		if d.Fault(f.Addr) {
			return true
		}
	}
	s.strayFaults.Add(1)
	return false
}

// addDevice makes a device known to onFault. The caller holds mu.
func (s *Switch) addDevice(d Device) {
	devices := append(slices.Clone(*s.devices.Load()), d)
	s.devices.Store(&devices)
}

// removeDevice undoes addDevice. The caller holds mu.
func (s *Switch) removeDevice(d Device) {
	devices := slices.DeleteFunc(slices.Clone(*s.devices.Load()), func(o Device) bool { return o == d })
	s.devices.Store(&devices)
}
