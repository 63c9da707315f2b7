package vswitch

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestPortsAreAddedAndDeleted(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts())
	ctx := context.Background()
	p, err := r.AddPort(ctx, "", PortConfig{Name: "d", Driver: "memory", Queues: 2, Path: "/tmp/d"})
	if err != nil || p.Number != 4 || p.Bridge != "br0" || len(p.RxQueues) != 2 || p.RxQueues[1].CPU != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, c := range []struct {
		cfg        PortConfig
		bridge, in string
	}{
		{PortConfig{Name: "d", Driver: "memory"}, "", "port d exists already, on bridge br0; choose another name"},
		{PortConfig{Name: "e", Driver: "memory", Path: "/tmp/d"}, "", "port d uses the socket /tmp/d already"},
		{PortConfig{Name: "e", Driver: "memory", Number: 4}, "", "port number 4 is taken by port d"},
		{PortConfig{Name: "e", Driver: "memory", Number: 65280}, "", "is above 65279"},
		{PortConfig{Name: "7", Driver: "memory"}, "", "rules would read it as a port number"},
		{PortConfig{Name: "e", Driver: "nothing"}, "", `unknown driver "nothing"`},
		{PortConfig{Name: "e", Driver: "memory"}, "br7", "no bridge br7; there are: br0"},
	} {
		_, err := r.AddPort(ctx, c.bridge, c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.in) {
			t.Errorf("%+v: %v, want %s", c.cfg, err, c.in)
		}
		var conflict *ConflictError
		taken := strings.Contains(c.in, " already") || strings.Contains(c.in, " taken ")
		if errors.As(err, &conflict) != taken {
			t.Errorf("%v is a %T", err, err)
		}
	}
	r.send("d", frame(1, 4, 64))
	r.want(map[string]int{"a": 1, "b": 1, "c": 1})
	if n := r.Bridges()[0].FDB.Entries; n != 1 {
		t.Errorf("%d addresses", n)
	}
	d := r.dev("d")
	if err := r.DelPort("d"); err != nil || !d.closed {
		t.Errorf("%v, closed %v", err, d.closed)
	}
	var missing *NotFoundError
	if err := r.DelPort("d"); !errors.As(err, &missing) || missing.Kind != "port" {
		t.Errorf("%v", err)
	}
	if n := r.Bridges()[0].FDB.Entries; n != 0 {
		t.Errorf("%d addresses of a port that is gone", n)
	}
	r.send("a", frame(4, 1, 64))
	r.want(map[string]int{"b": 1, "c": 1})
	if p, err = r.AddPort(ctx, "br0", PortConfig{Name: "e", Driver: "memory"}); err != nil || p.Number != 4 {
		t.Errorf("%+v, %v", p, err)
	}
}
