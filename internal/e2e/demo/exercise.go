package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"weft/internal/e2e/agent"
)

const (
	pingCount = 10
	tcpPort   = 5001
	tcpBytes  = 8 << 20
)

// pair is one direction between two endpoints and what came of it.
type pair struct {
	from, to endpoint
	ping     agent.PingResult
	tcp      agent.TCPResult
	errs     []error
}

// exercise pings every pair in both directions, moves TCP between them and prints the table.
func (d *demo) exercise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for _, e := range d.ends {
		if err := e.TCPServe(ctx, fmt.Sprintf(":%d", tcpPort)); err != nil {
			return err
		}
	}
	var pairs []*pair
	for _, from := range d.ends {
		for _, to := range d.ends {
			if from.name != to.name {
				pairs = append(pairs, &pair{from: from, to: to})
			}
		}
	}
	failed := 0
	for _, p := range pairs {
		d.step("%s -> %s: %d pings, then %d MiB over TCP", p.from.name, p.to.name, pingCount, tcpBytes>>20)
		p.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(p.errs) > 0 {
			failed++
			d.step("  %v", errors.Join(p.errs...))
		}
	}
	fmt.Fprintln(d.out)
	w := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "PAIR\tLOSS\tROUND TRIP (min/avg/max)\tTCP\tRESULT")
	for _, p := range pairs {
		fmt.Fprintln(w, p.row())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	if failed > 0 {
		_ = d.show(ctx) // what the switch saw says more than the pings do
		return fmt.Errorf("%d of %d pairs did not work", failed, len(pairs))
	}
	return nil
}

// run fills in what came of the pair. A first, uncounted ping lets ARP and the MAC table settle.
func (p *pair) run(ctx context.Context) {
	var err error
	if _, err = p.from.Ping(ctx, agent.PingArgs{
		Target: p.to.address, Count: 3, IntervalMS: 100, TimeoutMS: 3000, Size: 56,
	}); err != nil {
		p.errs = append(p.errs, err)
		return
	}
	p.ping, err = p.from.Ping(ctx, agent.PingArgs{
		Target: p.to.address, Count: pingCount, IntervalMS: 50, TimeoutMS: 3000, Size: 56,
	})
	switch {
	case err != nil:
		p.errs = append(p.errs, err)
	case p.ping.Lost() > 0 || p.ping.Corrupt > 0:
		p.errs = append(p.errs, fmt.Errorf("of %d pings %d were lost, %d corrupt", p.ping.Sent, p.ping.Lost(),
			p.ping.Corrupt))
	}
	p.tcp, err = p.from.TCPSend(ctx, agent.TCPSendArgs{
		Target: fmt.Sprintf("%s:%d", p.to.address, tcpPort), Bytes: tcpBytes, TimeoutMS: 60_000,
	})
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

func (p *pair) row() string {
	result, throughput, trip := "ok", "-", "-"
	if len(p.errs) > 0 {
		result = "FAILED"
	}
	if p.tcp.Verified {
		throughput = fmt.Sprintf("%.0f Mbit/s", p.tcp.Mbps)
	}
	if p.ping.Received > 0 {
		trip = fmt.Sprintf("%.2f / %.2f / %.2f ms", p.ping.MinUS/1e3, p.ping.AvgUS/1e3, p.ping.MaxUS/1e3)
	}
	loss := "-"
	if p.ping.Sent > 0 {
		loss = fmt.Sprintf("%.0f %%", 100*float64(p.ping.Lost())/float64(p.ping.Sent))
	}
	return strings.Join([]string{p.from.name + " -> " + p.to.name, loss, trip, throughput, result}, "\t")
}

// excerpt selects the samples worth a line in a terminal.
const excerpt = `^weft_(build_info|port_up|port_[rt]x_packets_total|port_sessions_total|flow_rules|flow_cache_(hits|misses)_` +
	`total|mac_entries\b|pmd_(busy|idle)_cycles_total|pmd_packets_total)`

// show prints what an operator would look at.
func (d *demo) show(ctx context.Context) error {
	for _, words := range [][]string{{"flow", "dump"}, {"port", "list"}, {"pmd", "show"}} {
		fmt.Fprintf(d.out, "$ weft %s\n", strings.Join(words, " "))
		text, err := d.daemon.CLI(ctx, words...)
		if err != nil {
			return err
		}
		fmt.Fprintln(d.out, text)
	}
	fmt.Fprintf(d.out, "$ curl -s http://%s/metrics   (excerpt)\n", metricsAddress)
	text, err := d.daemon.Scrape(ctx)
	if err != nil {
		return err
	}
	wanted, err := regexp.Compile(excerpt)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if wanted.MatchString(line) {
			fmt.Fprint(d.out, line)
		}
	}
	fmt.Fprintln(d.out)
	return nil
}

// explainKept says how to reach what was left running.
func (d *demo) explainKept() error {
	if err := d.group.Save(stateFile); err != nil {
		return err
	}
	self := "bin/demo"
	fmt.Fprintf(d.out, "\nKEEP=1: everything is left running. Logs and sockets are in %s.\n\n", runDir)
	lines := [][2]string{
		{"export WEFT_SOCKET=" + filepath.Join(runDir, "weft.sock"), "then: " + d.weft + " port list, flow add, ..."},
		{self + " ctl vm1 ping 10.1.0.2 5", "a command in a guest; \"help\" lists them"},
		{fmt.Sprintf("nsenter -t %d -n ip addr", d.wire.Process.PID()), "the wire's network namespace"},
		{"curl http://" + metricsAddress + "/metrics", "what Prometheus sees"},
		{"tail -f " + filepath.Join(runDir, "vm1.log"), "a guest's console"},
		{"make demo-stop", "the end of it all"},
	}
	for _, l := range lines {
		fmt.Fprintf(d.out, "  %-50s # %s\n", l[0], l[1])
	}
	return nil
}
