package main

import (
	"encoding/json"
	"fmt"
	"strconv"

	"weft/pmd"
	"weft/pmd/tap"
	"weft/switch"
)

const driverTap = "tap"

var (
	_ pmd.RxQueue     = (*tap.RxQueue)(nil)
	_ vswitch.RxQueue = (*tap.RxQueue)(nil)
	_ vswitch.TxQueue = (*tap.TxQueue)(nil)
	_ vswitch.Device  = (*tapDevice)(nil)
)

// The fields of a tap port that other drivers do not have.
const (
	optionRingSize = "ring_size"
	optionPersist  = "persist"
)

func tapDriver() vswitch.Driver {
	return vswitch.Driver{
		Open:      openTap,
		Options:   []string{"device", "queues", "mtu", "owner", "group", optionRingSize, optionPersist},
		Required:  []string{"device"},
		MaxQueues: tap.MaxQueues,
		Check: func(cfg vswitch.PortConfig) error {
			_, err := tapConfig(cfg)
			return err
		},
	}
}

// tapConfig reads a port's configuration. The error is a *vswitch.OptionError.
func tapConfig(cfg vswitch.PortConfig) (tap.Config, error) {
	c := tap.Config{
		Interface: cfg.Device, Queues: cfg.Queues, MTU: cfg.MTU, Owner: cfg.Owner, Group: cfg.Group,
	}
	if hint := tap.NameFault(c.Interface); hint != "" {
		return c, &vswitch.OptionError{
			Option: "device", Msg: fmt.Sprintf("an interface cannot be called %q", c.Interface), Hint: hint,
		}
	}
	if c.MTU > tap.MaxMTU {
		return c, &vswitch.OptionError{
			Option: "mtu", Msg: fmt.Sprintf("%d is more than a tap interface takes", c.MTU),
			Hint: fmt.Sprintf("use at most %d", tap.MaxMTU),
		}
	}
	if text, found := cfg.Extra[optionRingSize]; found {
		n, err := strconv.Atoi(text)
		if err != nil || !tap.ValidRingSize(n) {
			return c, &vswitch.OptionError{
				Option: optionRingSize, Msg: fmt.Sprintf("%q is no size of a ring", text),
				Hint: fmt.Sprintf("use a power of two from %d to %d", tap.MinRingSize, tap.MaxRingSize),
			}
		}
		c.RingSize = n
	}
	if text, found := cfg.Extra[optionPersist]; found {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return c, &vswitch.OptionError{
				Option: optionPersist, Msg: fmt.Sprintf("cannot be %q", text), Hint: "use true or false",
			}
		}
		c.Persist = on
	}
	return c, nil
}

// tapDevice presents a tap port to the switch.
type tapDevice struct {
	port   *tap.Port
	queues vswitch.Queues
	mtu    int // enforced, 0 none
}

func openTap(cfg vswitch.PortConfig, host vswitch.Host) (vswitch.Device, error) {
	c, err := tapConfig(cfg)
	if err != nil {
		return nil, err
	}
	p, err := tap.Open(c, tap.Host{Changed: host.Changed, Log: host.Log})
	if err != nil {
		return nil, err
	}
	d := &tapDevice{port: p, mtu: cfg.MTU}
	for _, q := range p.RxQueues() {
		d.queues.Rx = append(d.queues.Rx, q)
	}
	for _, q := range p.TxQueues() {
		d.queues.Tx = append(d.queues.Tx, q)
	}
	return d, nil
}

func (d *tapDevice) Queues() vswitch.Queues { return d.queues }

func (d *tapDevice) Status() vswitch.DeviceStatus {
	s := d.port.Status()
	return vswitch.DeviceStatus{
		Link: s.State == tap.StateUp, State: string(s.State), Error: s.LastError, ErrorTime: s.ErrorTime,
		MTU: d.mtu, Node: -1, Detail: s,
	}
}

// Fault is false: a tap port maps no foreign memory.
func (d *tapDevice) Fault(uintptr) bool { return false }

func (d *tapDevice) Close() error { return d.port.Close() }

func describeTap(data []byte) pairs {
	var s tap.Status
	if json.Unmarshal(data, &s) != nil {
		return nil
	}
	var p pairs
	where := ""
	if s.Foreign {
		where = ", in another network namespace"
	}
	p.add("interface", "%s%s, mtu %d", s.Interface, where, s.MTU)
	p.add("rings", "%s of %d frames each way", plural(s.Queues, "queue"), s.RingSize)
	if s.Reopened > 0 {
		p.add("made anew", "%s", plural(int(s.Reopened), "time"))
	}
	return p
}
