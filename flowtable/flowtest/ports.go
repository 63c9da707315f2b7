package flowtest

// Ports are the ports of a bridge in tests.
type Ports map[string]uint32

func (n Ports) PortNumber(name string) (uint32, bool) {
	v, ok := n[name]
	return v, ok
}

func (n Ports) PortName(number uint32) (string, bool) {
	for name, v := range n {
		if v == number {
			return name, true
		}
	}
	return "", false
}

var SomePorts = Ports{"vm1": 1, "vm-2": 2, "wire": 3, "7up": 4, "normal": 5, "12": 6, "ip": 7, `a"b`: 8, "drop": 9}
