package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// Priorities of the rules; the access list's are above all others.
const (
	aclPriority   = 60000
	knownPriority = 100
	freshPriority = 90

	aclRules = 1000
)

// writeFile writes rules to a file.
func writeFile(path string, write func(w io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	if err := write(out); err != nil {
		_ = f.Close()
		return err
	}
	if err := out.Flush(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// writeForwarding writes the rules that the known and the fresh flows hit, below an access list of mixed masks that they
// do not hit: it makes a switch look at all of addresses and ports.
func writeForwarding(w io.Writer, flows int) error {
	writeACL(w, aclRules)
	for i := range flows {
		fmt.Fprintf(w, "priority=%d,in_port=1,udp,nw_dst=%s,actions=output:2\n", knownPriority, address(knownNet+uint32(i)))
	}
	var err error
	for i := range uint32(256) {
		_, err = fmt.Fprintf(w, "priority=%d,in_port=1,udp,nw_src=%s/12,nw_dst=%s/24,tp_dst=53,actions=output:2\n", freshPriority,
			address(freshFrom), address(freshNet|i<<8))
	}
	return err // of the last one: a buffer that failed keeps failing
}

// writeACL writes n rules on prefixes of both addresses and on ports. The same for every run.
func writeACL(w io.Writer, n int) {
	r := rand.New(rand.NewPCG(1, 2))
	prefixes := []int{8, 12, 16, 20, 24, 28, 32}
	net := func() string {
		// 11.0.0.0 to 110.255.255.255: nothing of the load.
		a := uint32(11+r.IntN(100))<<24 | uint32(r.IntN(1<<24))
		bits := prefixes[r.IntN(len(prefixes))]
		return fmt.Sprintf("%s/%d", address(a&^uint32(1<<(32-bits)-1)), bits)
	}
	for i := range n {
		fmt.Fprintf(w, "priority=%d,udp,nw_src=%s,nw_dst=%s", aclPriority-i, net(), net())
		if r.IntN(2) == 0 {
			fmt.Fprintf(w, ",tp_dst=%d", r.IntN(65536))
		}
		if r.IntN(4) == 0 {
			fmt.Fprintf(w, ",tp_src=%#x/0xff00", r.IntN(256)<<8)
		}
		fmt.Fprintln(w, ",actions=drop")
	}
}

// bulkCookie marks the rules that are loaded by the million, so that they can be deleted alone.
const bulkCookie = 0xb01c

// maxBulkRules is how many destinations bulkRule has.
const maxBulkRules = 1 << 24

// bulkRule is the i-th of up to 2^24 rules that no packet of the load meets: a host route each, out of a table that is no
// neat range.
func bulkRule(i int) string {
	const odd = 0x9e3779b1
	n := uint32(i) * odd & (maxBulkRules - 1)
	return fmt.Sprintf("cookie=%#x,priority=%d,in_port=1,ip,nw_dst=%s,actions=output:2", bulkCookie, 200+i%4, address(20<<24|n))
}

func writeBulk(w io.Writer, n int) (err error) {
	for i := range n {
		_, err = fmt.Fprintln(w, bulkRule(i))
	}
	return err
}

// singleRule is the i-th rule of those that are added and deleted one by one; filter selects it, strictly.
func singleRule(i int) (rule, filter string) {
	filter = fmt.Sprintf("ip,nw_dst=%s", address(198<<24|18<<16|uint32(i)&0x1ffff)) // 198.18.0.0/15, RFC 2544
	return filter + ",actions=drop", filter
}
