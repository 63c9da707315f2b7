package control

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
)

// HandleList binds f to a route of GET whose answer is a list that may be too long to hold in memory: the elements are
// sent as f's sequence yields them, each before the next is asked for. In is filled from the query and the pattern's
// {wildcards}.
func HandleList[In, T any](s *Server, pattern string, f func(context.Context, *In) (iter.Seq[T], error)) {
	s.mux.HandleFunc(http.MethodGet+" "+pattern, func(w http.ResponseWriter, r *http.Request) {
		in := new(In)
		err := decodeQuery(r.URL.Query(), in)
		if err == nil {
			err = decodePath(r, pattern, in)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		list, err := f(r.Context(), in)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := writeList(s, w, list); err != nil {
			s.log.Debug("control answer not sent", "route", r.Method+" "+r.URL.Path, "err", err)
		}
	})
}

// borrowBuffer returns a buffer before w that is to be given back with returnBuffer.
func (s *Server) borrowBuffer(w io.Writer) *bufio.Writer {
	if out, found := s.buffers.Get().(*bufio.Writer); found {
		out.Reset(w)
		return out
	}
	return bufio.NewWriterSize(w, 64<<10)
}

func (s *Server) returnBuffer(out *bufio.Writer) {
	out.Reset(nil)
	s.buffers.Put(out)
}

// writeList writes a JSON array, one element a line.
func writeList[T any](s *Server, w io.Writer, list iter.Seq[T]) error {
	out := s.borrowBuffer(w)
	defer s.returnBuffer(out)
	enc := json.NewEncoder(out)
	sep := "["
	v := new(T)
	for *v = range list {
		if _, err := out.WriteString(sep); err != nil {
			return err
		}
		sep = ","
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
	if sep == "[" {
		_, _ = out.WriteString(sep) // Flush says what went wrong
	}
	_, _ = out.WriteString("]\n")
	return out.Flush()
}

// CallList calls a route that HandleList bound, and gives the elements to visit as they arrive, until that returns an
// error.
func CallList[In, T any](ctx context.Context, c *Client, pattern string, in *In, visit func(*T) error) error {
	req, err := c.request(ctx, http.MethodGet, pattern, in)
	if err != nil {
		return err
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(&io.LimitedReader{R: resp.Body, N: MaxAnswer})
	broken := func(err error) error { return fmt.Errorf("the answer of the daemon on %s: %w", c.socket, err) }
	if _, err := dec.Token(); err != nil {
		return broken(err)
	}
	for dec.More() {
		v := new(T)
		if err := dec.Decode(v); err != nil {
			return broken(err)
		}
		if err := visit(v); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return broken(err) // the daemon or the connection ended in the middle of the list
	}
	return nil
}
