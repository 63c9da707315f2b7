package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// hookedLog is a log that does something at the first line that has the text, before the writer goes on.
type hookedLog struct {
	syncBuffer
	text string
	do   func()
	once sync.Once
}

func (l *hookedLog) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.text) {
		l.once.Do(l.do)
	}
	return l.syncBuffer.Write(p)
}

// sendSelf sends a signal to this process.
func sendSelf(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

// TestStopWhileStarting stops the daemon after it has read its configuration and before it has opened anything.
func TestStopWhileStarting(t *testing.T) {
	for _, how := range []string{"context", "SIGTERM"} {
		t.Run(how, func(t *testing.T) {
			path, dir := testConfig(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			log := &hookedLog{text: "weft starts", do: cancel}
			if how == "SIGTERM" {
				log.do = func() { sendSelf(t, syscall.SIGTERM) }
			}
			if code := run(ctx, []string{"run", "-c", path}, nil, new(bytes.Buffer), log); code != exitOK {
				t.Errorf("exit code %d, log:\n%s", code, log)
			}
			if how == "context" && !strings.Contains(log.String(), "weft stops before it was ready") {
				t.Errorf("log:\n%s", log)
			}
			if names, err := filepath.Glob(filepath.Join(dir, "*.sock*")); err != nil || len(names) > 0 {
				t.Errorf("files left behind: %v %v", names, err)
			}
		})
	}
}

// TestHangupWhileStarting changes the configuration and sends SIGHUP while the daemon starts with the old one.
func TestHangupWhileStarting(t *testing.T) {
	path, dir := testConfig(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := &hookedLog{text: "weft starts", do: func() {
		changed := strings.ReplaceAll(string(text), "vm1", "vm2")
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Error(err)
		}
		sendSelf(t, syscall.SIGHUP)
	}}
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"run", "-c", path}, nil, new(bytes.Buffer), log) }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(filepath.Join(dir, "vm2.sock")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the changed configuration was not read, log:\n%s", log)
		}
	}
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d, log:\n%s", code, log)
	}
}

func TestJSONIsAskedFor(t *testing.T) {
	for line, want := range map[string]bool{
		"":                             false,
		"port list":                    false,
		"port list --frob -o json":     true,
		"-ojson prot":                  true,
		"-o=json prot":                 true,
		"--output json prot":           true,
		"--output=json prot":           true,
		"prot -o":                      false,
		"prot -o xml":                  false,
		"prot -o json --output=table":  false,
		"flow add -- -o json":          false,
		"port add --option json --bad": false,
	} {
		if got := asksForJSON(strings.Fields(line)); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}
