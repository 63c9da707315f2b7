package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weft/switch/metrics"
)

const (
	webTimeout = 10 * time.Second
	// maxScrapes bounds how many scrapes are answered at a time.
	maxScrapes = 4
)

// webServer serves /metrics and /healthz on an address that a reload may change.
type webServer struct {
	log     *slog.Logger
	handler http.Handler

	mu      sync.Mutex
	addr    string // as configured
	actual  string
	current *http.Server
}

func newWebServer(d *daemon) *webServer {
	version := buildVersion()
	registry := metrics.NewRegistry(func() metrics.Snapshot {
		st := d.sw.Stats()
		return metricsOf(&st, version)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelError), MaxRequestsInFlight: maxScrapes, Timeout: webTimeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := d.health.err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return &webServer{log: d.log, handler: mux}
}

// webChange is a server on a new address that does not serve yet.
type webChange struct {
	w        *webServer
	addr     string
	listener net.Listener // nil: nothing is to be listened on
	none     bool         // the address stays
}

// prepare listens on addr, "" for none, without serving yet.
func (w *webServer) prepare(addr string) (*webChange, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &webChange{w: w, addr: addr, none: addr == w.addr}
	if c.none || addr == "" {
		return c, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w; choose another address in the configuration's metrics section", err)
	}
	c.listener = l
	return c, nil
}

func (c *webChange) discard() {
	if c.listener != nil {
		_ = c.listener.Close()
	}
}

// commit replaces the old address by the new one.
func (c *webChange) commit() {
	if c.none {
		return
	}
	w := c.w
	w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addr, w.actual = c.addr, ""
	if c.listener == nil {
		return
	}
	s := &http.Server{
		Handler: w.handler, ReadHeaderTimeout: webTimeout, ReadTimeout: webTimeout, WriteTimeout: 2 * webTimeout,
		IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	w.current, w.actual = s, c.listener.Addr().String()
	go func() {
		if err := s.Serve(c.listener); !errors.Is(err, http.ErrServerClosed) {
			w.log.Error("metrics are not served any more", "err", err)
		}
	}()
}

// listen serves on addr from now on.
func (w *webServer) listen(addr string) error {
	c, err := w.prepare(addr)
	if err != nil {
		return err
	}
	c.commit()
	return nil
}

// address is where it listens, "none" for nowhere.
func (w *webServer) address() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return orNone(w.actual)
}

// close ends serving; a running scrape gets a moment.
func (w *webServer) close() {
	w.mu.Lock()
	s := w.current
	w.current = nil
	w.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close()
	}
}
