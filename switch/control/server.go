package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// MaxRequest bounds a request's JSON body.
	MaxRequest = 16 << 20
	// MaxText bounds a request's text body: some ten million rules.
	MaxText = 512 << 20

	headerTimeout  = 5 * time.Second
	readTimeout    = time.Minute // of a whole request
	requestTimeout = 5 * time.Minute
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Server answers requests.
type Server struct {
	mux *http.ServeMux
	log *slog.Logger
	// mapError turns a bound function's error into what the client gets.
	mapError   func(error) *Error
	maxRequest int64
	maxText    int64
	http       *http.Server
	buffers    sync.Pool // of *bufio.Writer, for lists
}

// NewServer makes a server without routes. mapError turns the errors of bound functions into Errors; it may be nil, and
// return nil for an error that it does not know, which then is an internal one.
func NewServer(log *slog.Logger, mapError func(error) *Error) *Server {
	s := &Server{mux: http.NewServeMux(), log: log, mapError: mapError, maxRequest: MaxRequest, maxText: MaxText}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, Errorf(CodeNotFound, "there is no %s %s: client and daemon may be of different versions",
			r.Method, r.URL.Path))
	})
	return s
}

// Handle binds f to a route. In is filled from the query (GET and DELETE) or the JSON body (POST and PUT), then from
// the pattern's {wildcards}, both by the JSON names of its fields. Unknown names are errors.
func Handle[In, Out any](s *Server, method, pattern string, f func(context.Context, *In) (Out, error)) {
	s.mux.HandleFunc(method+" "+pattern, func(w http.ResponseWriter, r *http.Request) {
		in := new(In)
		if err := s.decode(w, r, pattern, in); err != nil {
			s.fail(w, r, err)
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.reply(w, r, http.StatusOK, out)
	})
}

// HandleText binds f to a route of POST or PUT whose body is text, which f reads as it comes. In is filled from the query
// and the pattern's {wildcards}. A body of more than MaxText bytes ends in an error of code too_large, which f returns.
func HandleText[In, Out any](
	s *Server, method, pattern string, f func(context.Context, *In, io.Reader) (Out, error),
) {
	s.mux.HandleFunc(method+" "+pattern, func(w http.ResponseWriter, r *http.Request) {
		in := new(In)
		err := decodeQuery(r.URL.Query(), in)
		if err == nil {
			err = decodePath(r, pattern, in)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		out, err := f(r.Context(), in, &textBody{http.MaxBytesReader(w, r.Body, s.maxText)})
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.reply(w, r, http.StatusOK, out)
	})
}

// textBody gives a body that is too long the error of this package.
type textBody struct{ r io.Reader }

func (b *textBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	return n, tooLarge(err)
}

// tooLarge is err, or if that comes from a bounded body what the client is told.
func tooLarge(err error) error {
	var e *http.MaxBytesError
	if !errors.As(err, &e) {
		return err
	}
	out := Errorf(CodeTooLarge, "the request is larger than %d bytes", e.Limit)
	out.Hint = "send it in parts"
	return out
}

// HandleHTTP binds a plain handler, such as a profiler's.
func (s *Server) HandleHTTP(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// serve keeps a bound function's panic from taking the switch down: the request fails, the data plane stays.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("control request panicked", "route", r.Method+" "+r.URL.Path, "panic", p,
				"stack", string(debug.Stack()))
			s.fail(w, r, Errorf(CodeInternal, "the daemon failed inside: %v; its log has the stack", p))
		}
	}()
	s.mux.ServeHTTP(w, r)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) && s.mapError != nil {
		e = s.mapError(err)
	}
	if e == nil {
		e = toError(err)
	}
	s.log.Debug("control request failed", "route", r.Method+" "+r.URL.Path, "code", e.Code, "err", e.Message)
	status, found := statusOf[e.Code]
	if !found {
		status = http.StatusInternalServerError
	}
	s.reply(w, r, status, e)
}

func (s *Server) reply(w http.ResponseWriter, r *http.Request, status int, v any) {
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(v); err != nil {
		status = http.StatusInternalServerError
		buf.Reset()
		_ = json.NewEncoder(&buf).Encode(Errorf(CodeInternal, "encode the answer: %w", err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if _, err := w.Write(buf.Bytes()); err != nil {
		s.log.Debug("control answer not sent", "route", r.Method+" "+r.URL.Path, "err", err)
	}
}

// decode fills in from the request.
func (s *Server) decode(w http.ResponseWriter, r *http.Request, pattern string, in any) error {
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		if err := s.decodeBody(w, r, in); err != nil {
			return err
		}
		if len(r.URL.RawQuery) > 0 {
			return Errorf(CodeBadRequest, "%s %s takes its parameters in the body, not in the query", r.Method, pattern)
		}
	} else if err := decodeQuery(r.URL.Query(), in); err != nil {
		return err
	}
	return decodePath(r, pattern, in)
}

func (s *Server) decodeBody(w http.ResponseWriter, r *http.Request, in any) error {
	body := http.MaxBytesReader(w, r.Body, s.maxRequest)
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	err := dec.Decode(in)
	if errors.Is(err, io.EOF) {
		return nil // no body: every field has its zero value
	}
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			return Errorf(CodeBadRequest, "the request's body goes on after its JSON value")
		}
		return nil
	}
	if e := tooLarge(err); e != err {
		return e
	}
	return Errorf(CodeBadRequest, "the request's body is not what this route takes: %w", err)
}

// Serve answers requests on l until Shutdown. It returns nil after Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control: serve: %w", err)
	}
	return nil
}

// Shutdown stops accepting, waits until running requests have been answered or ctx ends, and closes all connections.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
		return fmt.Errorf("control: requests were cut off: %w", err)
	}
	return nil
}
