package host

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"

	"weft/internal/e2e/agent"
)

// Namespace is a network namespace with an agent in it. It exists as long as the agent's process does.
type Namespace struct {
	*agent.Client
	Socket  string
	Process *Process
}

// NewNamespace starts an agent in a network namespace of its own. program is the agent's file, dir holds its socket.
func NewNamespace(ctx context.Context, g *Group, name, program, dir string) (*Namespace, error) {
	socket := filepath.Join(dir, name+".ctl")
	p, err := g.Start(Spec{Name: name, Args: []string{program, "-listen", socket}, Net: true})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := agent.Dial(ctx, name, socket)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.Tail(10))
	}
	g.Defer(func() { _ = c.Close() })
	return &Namespace{Client: c, Socket: socket, Process: p}, nil
}

// Adopt moves an interface of this namespace, a tap that the switch made, into n and gives it an address there.
func (n *Namespace) Adopt(ctx context.Context, ifname, cidr string) error {
	for {
		link, err := netlink.LinkByName(ifname)
		if err == nil {
			if err := netlink.LinkSetNsPid(link, n.Process.PID()); err != nil {
				return fmt.Errorf("move %s into the network namespace: %w", ifname, err)
			}
			return n.Addr(ctx, ifname, cidr)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("interface %s did not appear: %w", ifname, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
