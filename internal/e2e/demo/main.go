package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"weft/internal/e2e/agent"
	"weft/internal/e2e/host"
)

// runDir is where configs/demo.yaml has its sockets.
const runDir = "/run/weft-demo"

// stateFile tells "demo stop" what "KEEP=1" left.
var stateFile = filepath.Join(runDir, "state.json")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) > 0 && args[0] == "stop":
		err = stopKept()
	case len(args) > 1 && args[0] == "ctl":
		err = control(ctx, args[1], args[2:])
	default:
		err = runDemo(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func runDemo(ctx context.Context) error {
	var d demo
	flag.StringVar(&d.weft, "weft", "bin/weft", "the weft binary")
	flag.StringVar(&d.config, "config", "configs/demo.yaml", "its configuration")
	flag.StringVar(&d.source, "source", ".", "root directory of the source tree")
	flag.Parse()
	d.keep = os.Getenv("KEEP") == "1"
	d.out = os.Stdout
	d.start = time.Now()
	err := d.run(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted; everything has been removed")
	}
	return err
}

func stopKept() error {
	n, err := host.StopSaved(stateFile)
	if err != nil {
		return err
	}
	if n == 0 {
		fmt.Println("nothing was running")
		return os.RemoveAll(runDir)
	}
	fmt.Printf("stopped %d processes\n", n)
	return os.RemoveAll(runDir)
}

// control runs one command on the agent of a guest or of the wire: "demo ctl vm1 ping 10.1.0.2".
func control(ctx context.Context, name string, words []string) error {
	req, err := agent.ParseWords(words)
	if err != nil {
		return err
	}
	dial, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := agent.Dial(dial, name, filepath.Join(runDir, name+".ctl"))
	if err != nil {
		return fmt.Errorf("%w; is a demo running? (make demo KEEP=1)", err)
	}
	defer func() { _ = c.Close() }()
	var result json.RawMessage
	if err := c.Do(ctx, req.Op, req.Args, &result); err != nil {
		return err
	}
	fmt.Println(strings.TrimSpace(string(result)))
	return nil
}
