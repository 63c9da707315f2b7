package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim"
	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/wire"
)

// simulation is one run of the command.
type simulation struct {
	options
	kind    *kind
	speed   adminq.Speed
	address adminq.MAC

	cards   []*card
	served  []*endpoint
	ports   []wire.Port
	capture *wire.Capture
}

// card is a model and what belongs to it.
type card struct {
	name  string
	model *i40esim.Device
	trace *traceFile // nil without
	port  wire.Port  // nil when the port is plugged into nothing
}

// endpoint is a function and the socket that it is served on.
type endpoint struct {
	what     string
	path     string
	device   vfiouser.Device
	listener *net.UnixListener
	info     os.FileInfo // the socket's file
}

// run serves until ctx ends, and reports what the drivers did wrong.
func (s *simulation) run(ctx context.Context, out, errOut io.Writer) error {
	defer s.close()
	if err := s.build(); err != nil {
		return err
	}
	for _, e := range s.served {
		if err := e.listen(); err != nil {
			return err
		}
	}
	for _, c := range s.cards {
		if c.port != nil {
			c.port.Start(c.model.Receive)
		}
	}
	for _, e := range s.served {
		fmt.Fprintf(out, "%s on %s\n", e.what, e.path)
	}
	fmt.Fprintln(out, "ready")
	log := slog.New(slog.DiscardHandler)
	if !s.quiet {
		log = slog.New(slog.NewTextHandler(errOut, nil))
	}
	err := s.serve(ctx, log)
	return errors.Join(err, s.close(), s.report(out, errOut))
}

// serve serves all functions until ctx ends or one cannot be served any more.
func (s *simulation) serve(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(s.served))
	var wg sync.WaitGroup
	for i, e := range s.served {
		wg.Go(func() {
			defer cancel()
			opt := vfiouser.Options{Log: log.With("socket", e.path)}
			errs[i] = vfiouser.Serve(ctx, e.listener, e.device, opt)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// build makes the cards and plugs them in.
func (s *simulation) build() error {
	var peer wire.Port
	first, err := s.openPort(&peer)
	if err != nil {
		return err
	}
	if s.options.capture != "" {
		if s.capture, err = wire.CreateCapture(s.options.capture); err != nil {
			return err
		}
		first = wire.Tee(first, s.capture, time.Now)
	}
	c, err := s.addCard("card", s.socket, s.trace, s.address, first)
	if err != nil {
		return err
	}
	for i, path := range s.vfSockets {
		vf, err := c.model.VF(i)
		if err != nil {
			return err
		}
		s.served = append(s.served, &endpoint{what: fmt.Sprintf("VF %d 8086:154c", i), path: path, device: vf})
	}
	if peer != nil {
		trace := s.trace
		if trace != "" {
			trace += ".peer"
		}
		_, err = s.addCard("peer", s.peerSocket, trace, next(s.address), peer)
	}
	return err
}

// openPort makes what the first card's port is plugged into, nil for nothing, and the other end if that is a card.
func (s *simulation) openPort(peer *wire.Port) (wire.Port, error) {
	kind, arg, _ := strings.Cut(s.join, ":")
	var port wire.Port
	switch kind {
	case "tap":
		tap, err := wire.OpenTap(arg, s.tapMTU)
		if err != nil {
			return nil, err
		}
		port = tap
	case "pcap":
		replay, err := wire.OpenReplay(arg, wire.ReplayOptions{
			Speed: s.replaySpeed, Loop: s.replayLoop, AwaitSend: s.replayAwait,
		})
		if err != nil {
			return nil, err
		}
		port = replay
	case "peer":
		port, *peer = wire.Pair()
		s.ports = append(s.ports, *peer)
	default:
		return nil, nil
	}
	s.ports = append(s.ports, port)
	return port, nil
}

func (s *simulation) addCard(name, socket, trace string, mac adminq.MAC, port wire.Port) (*card, error) {
	c := &card{name: name, port: port}
	cfg := i40esim.Config{Card: s.kind.config(s.speed, mac, s.vfs), LinkDown: s.linkDown}
	if port != nil {
		cfg.Wire = port
	}
	if trace != "" {
		f, err := os.OpenFile(trace, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
		c.trace = &traceFile{file: f}
		cfg.Trace = c.trace
	}
	s.cards = append(s.cards, c)
	var err error
	if c.model, err = i40esim.New(cfg); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("PF 8086:%04x %s", s.kind.id, mac)
	s.served = append(s.served, &endpoint{what: what, path: socket, device: c.model})
	return c, nil
}

func (e *endpoint) listen() error {
	var err error
	if e.listener, err = vfiouser.Listen(e.path); err != nil {
		return err
	}
	e.info, err = os.Lstat(e.path)
	return err
}

// close takes everything down. The error is of what was to be kept: the traces and the capture.
func (s *simulation) close() error {
	for _, e := range s.served {
		if e.listener == nil {
			continue
		}
		_ = e.listener.Close()
		if now, err := os.Lstat(e.path); err == nil && e.info != nil && os.SameFile(now, e.info) {
			_ = os.Remove(e.path)
		}
		e.listener = nil
	}
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.Close())
	}
	s.ports = nil
	for _, c := range s.cards {
		if c.trace != nil {
			if c.model != nil {
				c.model.SetTrace(nil)
			}
			errs = append(errs, c.trace.close())
			c.trace = nil
		}
	}
	if s.capture != nil {
		errs = append(errs, s.capture.Close())
		s.capture = nil
	}
	return errors.Join(errs...)
}

// report prints what drivers used, and what they did wrong. With --strict that is an error.
func (s *simulation) report(out, errOut io.Writer) error {
	wrong := 0
	for _, c := range s.cards {
		violations := c.model.Violations()
		wrong += len(violations)
		for _, v := range violations {
			fmt.Fprintf(errOut, "%s: violation: %s\n", c.name, v)
		}
		used := c.model.Coverage()
		fmt.Fprintf(out, "%s: %d registers read, %d written, %d admin queue commands used; %d violations\n", c.name,
			len(used.Reads), len(used.Writes), len(used.Commands), len(violations))
		if c.port != nil {
			w := c.port.Stats()
			fmt.Fprintf(out, "%s: wire: %d frames sent, %d received, %d dropped\n", c.name, w.Sent, w.Received, w.Dropped)
		}
	}
	if s.strict && wrong > 0 {
		return fmt.Errorf("%d violations of what the datasheet allows a driver (--strict)", wrong)
	}
	return nil
}

// traceFile remembers that something could not be written.
type traceFile struct {
	file *os.File
	err  error
}

func (t *traceFile) Write(b []byte) (int, error) {
	n, err := t.file.Write(b)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("trace: %w", err)
	}
	return n, err
}

func (t *traceFile) close() error { return errors.Join(t.err, t.file.Close()) }
