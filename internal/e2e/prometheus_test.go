//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/e2e/host"
	"weft/internal/e2e/testpmd"
)

// prometheus is a running server.
type prometheus struct {
	*rig
	address string
}

// startPrometheus starts Debian's Prometheus, scraping one target each second.
func (r *rig) startPrometheus(target string) *prometheus {
	r.t.Helper()
	p := &prometheus{rig: r, address: fmt.Sprintf("127.0.0.1:%d", freePort(r.t))}
	config := "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: weft\n    static_configs: [{targets: [\"" +
		target + "\"]}]\n"
	r.must(os.WriteFile(r.path("prometheus.yml"), []byte(config), 0o644))
	_, err := r.group.Start(host.Spec{Name: "prometheus", Args: []string{
		"prometheus", "--config.file=" + r.path("prometheus.yml"), "--storage.tsdb.path=" + r.path("tsdb"),
		"--web.listen-address=" + p.address,
	}})
	r.must(err)
	return p
}

// query evaluates an expression that must have exactly one value.
func (p *prometheus) query(expr string) (float64, error) {
	resp, err := http.Get("http://" + p.address + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Status string
		Error  string
		Data   struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("query %s: %w", expr, err)
	}
	if answer.Status != "success" || len(answer.Data.Result) != 1 {
		return 0, fmt.Errorf("query %s: %s %s, %d values, want one", expr, answer.Status, answer.Error,
			len(answer.Data.Result))
	}
	return strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
}

// between waits until an expression has a value in a range.
func (p *prometheus) between(expr string, low, high float64) {
	p.t.Helper()
	p.eventually(20*time.Second, func() error {
		got, err := p.query(expr)
		if err == nil && (got < low || got > high) {
			err = fmt.Errorf("%s is %v, want between %v and %v", expr, got, low, high)
		}
		return err
	})
}

func TestPrometheusScrapesWeft(t *testing.T) {
	r := newRig(t, 2*time.Minute)
	noHuge := !r.needTestpmd(testpmd.MemoryMB)
	d := r.weftPair("server", 1)
	p := r.startPrometheus(d.Metrics)
	l := r.load(d, testpmd.Config{NoHugepages: noHuge})
	r.circulate(d, l, 2*time.Second)

	p.between(`up{job="weft"}`, 1, 1)
	p.between(`count(weft_port_up == 1)`, 2, 2)
	p.between(`sum(rate(weft_port_rx_packets_total{port="v0"}[5s]))`, flowing, 1e9)
	p.between(`sum(rate(weft_port_tx_bytes_total{port="v1"}[5s])) / sum(rate(weft_port_tx_packets_total{port="v1"}[5s]))`,
		64, 64)
	p.between(`sum(weft_flow_rules)`, 2, 2)
	p.between(`sum(rate(weft_flow_cache_hits_total[5s])) / (sum(rate(weft_flow_cache_hits_total[5s])) + `+
		`sum(rate(weft_flow_cache_misses_total[5s])))`, 0.99, 1)
	p.between(`sum(rate(weft_pmd_packets_total[5s])) / sum(rate(weft_pmd_batches_total[5s]))`, 1, 32)
	p.between(`sum(rate(weft_pmd_busy_cycles_total[5s])) / (sum(rate(weft_pmd_busy_cycles_total[5s])) + `+
		`sum(rate(weft_pmd_idle_cycles_total[5s])))`, 0.05, 1)
	p.between(`sum(weft_port_sessions_total)`, 2, 2)
	p.between(`count(weft_build_info)`, 1, 1)

	text, err := d.Scrape(r.ctx)
	r.must(err)
	check := exec.CommandContext(r.ctx, "promtool", "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	// The totals that Prometheus ends up with are those of the command line.
	r.must(l.Drain(r.ctx, 300*time.Millisecond))
	ports, err := d.Ports(r.ctx)
	r.must(err)
	want := float64(ports["v0"].Rx.Packets)
	p.between(`sum(weft_port_rx_packets_total{port="v0"})`, want, want)
}
