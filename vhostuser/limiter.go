package vhostuser

import (
	"sync"
	"time"
)

// Intervals between logs of one repeating failure: they double from the first to the last.
const (
	quietMin = time.Second
	quietMax = time.Minute
)

// limiter keeps failures that repeat from flooding the log. The zero value is ready. It is safe for concurrent use.
type limiter struct {
	mu   sync.Mutex
	seen map[string]*repeat
	now  func() time.Time // nil: time.Now
}

// repeat is one kind of failure.
type repeat struct {
	text     string
	last     time.Time     // when one was logged
	interval time.Duration // of silence since then
	held     int           // failures in it
}

// allow reports whether a failure of this kind, of which there are few, is to be logged now, and how many were not
// since the last one. A failure with another text is news, but not more often than quietMin.
func (l *limiter) allow(kind, text string) (held int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.now != nil {
		now = l.now()
	}
	if l.seen == nil {
		l.seen = make(map[string]*repeat)
	}
	r := l.seen[kind]
	if r == nil {
		l.seen[kind] = &repeat{text, now, quietMin, 0}
		return 0, true
	}
	silence := now.Sub(r.last)
	if silence < quietMin || silence < r.interval && r.text == text {
		r.held++
		return 0, false
	}
	next := min(2*r.interval, quietMax)
	if r.text != text || silence > 2*quietMax {
		next = quietMin
	}
	held = r.held
	*r = repeat{text, now, next, 0}
	return held, true
}
