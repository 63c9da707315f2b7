package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"weft/numa"
	"weft/pmd"
	"weft/switch"
	"weft/vhostuser"
	"weft/vhostuser/virtq"
)

const driverVhostUser = "vhost-user"

var (
	_ pmd.RxQueue     = (*virtq.RxQueue)(nil)
	_ vswitch.RxQueue = (*virtq.RxQueue)(nil)
	_ vswitch.TxQueue = (*virtq.TxQueue)(nil)
	_ vswitch.Device  = (*vhostUserDevice)(nil)
)

func vhostUserDriver() vswitch.Driver {
	return vswitch.Driver{
		Open:      openVhostUser,
		Options:   []string{"path", "mode", "queues", "mtu", "owner", "group", "permissions", "reconnect"},
		Required:  []string{"path"},
		MaxQueues: vhostuser.MaxQueuePairs,
		Check:     checkVhostUser,
	}
}

// checkVhostUser finds a path at which Weft could not listen, because only sockets that nobody uses are replaced.
func checkVhostUser(cfg vswitch.PortConfig) error {
	if cfg.Mode == vswitch.ModeClient {
		return nil
	}
	if st, err := os.Lstat(cfg.Path); err == nil && st.Mode().Type() != fs.ModeSocket {
		return &vswitch.OptionError{
			Option: "path", Msg: cfg.Path + " exists and is not a socket", Hint: "remove it, or choose another path",
		}
	}
	return nil
}

// vhostUserDevice presents a vhost-user port to the switch. Fault and Close are the port's.
type vhostUserDevice struct {
	*vhostuser.Port
	rx []vswitch.RxQueue
	tx []vswitch.TxQueue
}

func openVhostUser(cfg vswitch.PortConfig, host vswitch.Host) (vswitch.Device, error) {
	p, err := vhostuser.Open(vhostuser.Config{
		Name: cfg.Name, Path: cfg.Path, Server: cfg.Mode != vswitch.ModeClient, Owner: cfg.Owner, Group: cfg.Group,
		Mode: cfg.Permissions, QueuePairs: cfg.Queues, MTU: cfg.MTU,
		ReconnectMin: cfg.ReconnectMin, ReconnectMax: cfg.ReconnectMax,
	}, vhostuser.Host{Changed: host.Changed, Synchronize: host.Synchronize, NodeOf: numa.NodeOfMemory, Log: host.Log})
	if err != nil {
		return nil, err
	}
	d := &vhostUserDevice{Port: p}
	for _, q := range p.RxQueues() {
		d.rx = append(d.rx, q)
	}
	for _, q := range p.TxQueues() {
		d.tx = append(d.tx, q)
	}
	return d, nil
}

func (d *vhostUserDevice) Queues() vswitch.Queues {
	return vswitch.Queues{Rx: d.rx, Tx: d.tx, ActiveRx: d.ActiveRx(), ActiveTx: d.ActiveTx()}
}

func (d *vhostUserDevice) Status() vswitch.DeviceStatus {
	s := d.Port.Status()
	out := vswitch.DeviceStatus{
		State: string(s.State), Error: s.Error, MTU: s.MTU, Node: s.Memory.Node,
		Sessions: s.Sessions, Disconnects: s.Disconnects, Detail: s,
	}
	for i := range s.Rings {
		out.Link = out.Link || s.Rings[i].Usable
	}
	if out.Error == "" {
		out.Error = s.LastError
	}
	if s.LastErrorAt != nil {
		out.ErrorTime = *s.LastErrorAt
	}
	return out
}

func describeVhostUser(data []byte) pairs {
	var s vhostuser.Status
	if json.Unmarshal(data, &s) != nil {
		return nil
	}
	var p pairs
	p.add("socket", "%s (%s)", s.Path, s.Mode)
	p.addUnlessEmpty("session", s.Session)
	if s.Peer != nil {
		p.add("peer", "pid %d, uid %d, gid %d", s.Peer.PID, s.Peer.UID, s.Peer.GID)
	}
	if s.Refused > 0 {
		p.add("refused", "%d connections while another was served", s.Refused)
	}
	p.add("queue pairs", "%d offered", s.QueuePairs)
	if s.Session == "" {
		p.add("offers", "%s", strings.Join(s.OfferedFeatures, " "))
		return p
	}
	p.add("guest memory", "%d regions, %s", s.Memory.Regions, mebibytes(s.Memory.Bytes))
	p.add("features", "%s", strings.Join(s.Features, " "))
	p.add("protocol", "%s", strings.Join(s.ProtocolFeatures, " "))
	for i := range s.Rings {
		p.add("ring "+s.Rings[i].Name, "%s", describeRing(&s.Rings[i]))
	}
	return p
}

func describeRing(r *vhostuser.RingStatus) string {
	parts := []string{r.State}
	if !r.Enabled {
		parts = append(parts, "not enabled")
	}
	if r.Size > 0 {
		parts = append(parts, fmt.Sprintf("%d descriptors", r.Size))
	}
	if r.Usable && !r.Interrupts {
		parts = append(parts, "guest polls")
	}
	if r.WaitingFor != "" {
		parts = append(parts, "waiting for "+r.WaitingFor)
	}
	if r.Error != "" {
		parts = append(parts, r.Error)
	}
	return strings.Join(parts, ", ")
}

func mebibytes(n uint64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
