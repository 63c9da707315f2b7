package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"

	"weft/internal/e2e/agent"
)

func main() {
	if os.Getpid() == 1 {
		fmt.Fprintln(os.Stderr, "init:", runInit())
		// The kernel panics when process 1 ends; powering off tells the test more quickly.
		_ = power(false)
		select {}
	}
	listen := flag.String("listen", "", "unix socket to serve the agent's protocol on")
	flag.Parse()
	fmt.Fprintln(os.Stderr, "agent:", runProcess(*listen))
	os.Exit(1)
}

// runProcess serves the agent in the network namespace of this process. It returns only what went wrong.
func runProcess(path string) error {
	if path == "" {
		return errors.New("-listen PATH is missing")
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	_ = os.Remove(path) // what a killed predecessor left
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := agent.NewServer(nil)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_ = server.Serve(conn) // the client's end of the connection ends it
		}()
	}
}
