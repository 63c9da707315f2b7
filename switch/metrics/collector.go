package metrics

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Collector is a switch as Prometheus sees it.
//
// Concurrency: scrapes may overlap; each takes its own snapshot.
type Collector struct {
	source func() Snapshot
	descs  []*prometheus.Desc // by row of the table
}

// NewCollector makes a collector that calls source once for each scrape.
func NewCollector(source func() Snapshot) *Collector {
	c := &Collector{source: source, descs: make([]*prometheus.Desc, len(table))}
	for i, m := range table {
		c.descs[i] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
	}
	return c
}

// NewRegistry is a registry with the switch, the Go runtime and the process.
func NewRegistry(source func() Snapshot) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		NewCollector(source),
		// What the collector of garbage costs, too.
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
			collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/cpu/classes/gc/total:`)})),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// Describe sends what there is, as prometheus.Collector wants it.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect sends the samples of one snapshot, as prometheus.Collector wants it.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.source()
	for i, m := range table {
		valueType := prometheus.CounterValue
		if m.kind == gauge {
			valueType = prometheus.GaugeValue
		}
		m.samples(&s, func(v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(c.descs[i], valueType, v, labels...)
		})
	}
}
