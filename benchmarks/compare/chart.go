package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The chart's measures, in pixels.
const (
	chartWidth  = 760
	chartMargin = 16
	chartLabels = 150 // for the contenders' names
	chartFigure = 150 // for the figures behind the bars
	chartBar    = 16  // a bar's height
	chartRow    = 22  // a bar and the space below it
	chartHead   = 30  // a scenario's title
)

// chartColours tell the peers apart, also for those who do not see red and green as different (Okabe and Ito, 2008).
var chartColours = map[string]string{peerWeft: "#0072b2", peerOther: "#56b4e9", peerOVS: "#e69f00", peerTestpmd: "#999999"}

// writeChart draws the scenarios of a report as an SVG picture: a bar for the median of each contender, and a line from its
// worst to its best round. All have one scale.
func (r *report) writeChart(path string) error {
	var c chart
	c.scale = chartWidth - 2*chartMargin - chartLabels - chartFigure
	best := 0.0
	for _, s := range r.Scenarios {
		for _, p := range s.Results {
			best = max(best, p.Median, slices.Max(append([]float64{0}, p.Mpps...)))
		}
	}
	if best > 0 {
		c.scale /= best
	}
	c.at = chartMargin
	for _, s := range r.Scenarios {
		c.scenario(s)
	}
	c.note(fmt.Sprintf("Mpps, both directions; medians and range of %d rounds of %d s. %s, %d CPUs, %s.", r.Options.Rounds,
		r.Options.Seconds, r.Machine.CPU, r.Machine.CPUs, r.Time.Format("2006-01-02")))
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		c.note(name + ": " + r.Versions[name])
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, c.file(), 0o644)
}

// chart is a picture that grows downwards.
type chart struct {
	body  strings.Builder
	at    float64 // where the next thing goes
	scale float64 // pixels for each Mpps
}

func (c *chart) scenario(s *outcome) {
	c.text(chartMargin, c.at+16, `class="title"`, fmt.Sprintf("%s (%s)", s.Title, s.Name))
	c.at += chartHead
	if s.Failure != "" {
		first, _, _ := strings.Cut(s.Failure, "\n")
		c.text(chartMargin+chartLabels, c.at+12, `class="note"`, "no figures: "+first)
		c.at += chartRow
	}
	for i := range s.Results {
		if p := &s.Results[i]; len(p.Mpps) > 0 && s.Failure == "" {
			c.bar(p)
		}
	}
	c.at += chartRow - chartBar
}

func (c *chart) bar(p *result) {
	const left = chartMargin + chartLabels
	middle := c.at + chartBar/2
	least, most := slices.Min(p.Mpps), slices.Max(p.Mpps)
	c.text(left-8, middle+4, `text-anchor="end"`, p.Label)
	fmt.Fprintf(&c.body, `<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>`+"\n", left, c.at, p.Median*c.scale, chartBar,
		chartColours[p.Peer])
	fmt.Fprintf(&c.body, `<path d="M%.1f %.1fH%.1f" class="range"/>`+"\n", left+least*c.scale, middle, left+most*c.scale)
	c.text(left+max(most, p.Median)*c.scale+8, middle+4, "", fmt.Sprintf("%.2f (%.2f-%.2f)", p.Median, least, most))
	c.at += chartRow
}

func (c *chart) note(text string) {
	c.text(chartMargin, c.at+12, `class="note"`, text)
	c.at += chartBar
}

func (c *chart) text(x, y float64, attributes, text string) {
	var escaped bytes.Buffer
	_ = xml.EscapeText(&escaped, []byte(text)) // memory
	fmt.Fprintf(&c.body, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, escaped.Bytes())
}

// file is the whole picture, on white, so that it can be read on any page.
func (c *chart) file() []byte {
	height := c.at + chartMargin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" width="%[1]d" height="%.0[2]f">
<style>
text { font: 13px sans-serif; fill: #222 }
.title { font-weight: bold }
.note { font-size: 11px; fill: #555 }
.range { stroke: #222; stroke-width: 2 }
</style>
<rect width="100%%" height="100%%" fill="#fff"/>
%s</svg>
`, chartWidth, height, c.body.String())
	return b.Bytes()
}
