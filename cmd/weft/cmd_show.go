package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/pmd"
	"weft/switch"
)

func (a *app) fdbCommand() *cobra.Command {
	show := &cobra.Command{
		Use: "show [BRIDGE]", Short: "Show which MAC addresses were learned on which ports", Args: rangeArgs(0, 1),
		ValidArgsFunction: a.completeBridges,
		RunE: func(cmd *cobra.Command, args []string) error {
			entries, err := routeFDB.call(cmd.Context(), a, &bridgeRequest{optional(args)})
			if err != nil {
				return err
			}
			return a.show(entries, func(w io.Writer) {
				t := newTable("BRIDGE", "PORT", ">NO", ">VLAN", "MAC", ">AGE")
				for _, e := range entries {
					t.row(e.Bridge, e.Port, e.Number, e.VLAN, e.MAC, fmt.Sprintf("%ds", e.Age))
				}
				t.print(w, "")
			})
		},
	}
	flush := &cobra.Command{
		Use: "flush [BRIDGE]", Short: "Forget all learned MAC addresses", Args: rangeArgs(0, 1),
		ValidArgsFunction: a.completeBridges,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := routeFDBFlush.call(cmd.Context(), a, &bridgeRequest{optional(args)})
			if err != nil {
				return err
			}
			return a.say(map[string]int{"flushed": n.Count}, "%d addresses forgotten", n.Count)
		},
	}
	return group("fdb", "Show and flush the MAC tables", show, flush)
}

func (a *app) pmdCommand() *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "Show the PMD threads: where they run, what they poll, how busy they are", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			threads, err := routePMD.call(cmd.Context(), a, &noRequest{})
			if err != nil {
				return err
			}
			return a.show(threads, func(w io.Writer) { printPMD(w, threads) })
		},
	}
	move := &cobra.Command{
		Use:     "move PORT QUEUE CPU",
		Short:   "Let the PMD thread of another CPU poll a receive queue; the others go on",
		Example: "  weft pmd move vm1 0 3", Args: exactArgs(3), ValidArgsFunction: a.completePorts,
		RunE: func(cmd *cobra.Command, args []string) error {
			queue, err1 := strconv.Atoi(args[1])
			cpu, err2 := strconv.Atoi(args[2])
			if err1 != nil || err2 != nil || queue < 0 || cpu < 0 {
				return &usageError{fmt.Errorf("%s %s: queue and CPU are numbers from 0", args[1], args[2]), cmd}
			}
			in := pmdMoveRequest{args[0], queue, cpu}
			if _, err := routePMDMove.call(cmd.Context(), a, &in); err != nil {
				return err
			}
			return a.say(in, "queue %d of port %s is now polled on CPU %d", queue, args[0], cpu)
		},
	}
	rebalance := &cobra.Command{
		Use: "rebalance", Short: "Distribute the receive queues over the PMD threads anew, by their load", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := routePMDRebalance.call(cmd.Context(), a, &noRequest{})
			if err != nil {
				return err
			}
			return a.say(map[string]int{"moved": n.Count}, "%s moved", plural(n.Count, "queue"))
		},
	}
	return group("pmd", "Show PMD threads and move queues between them", show, move, rebalance)
}

func printPMD(w io.Writer, threads []vswitch.PMDInfo) {
	for i := range threads {
		if i > 0 {
			fmt.Fprintln(w)
		}
		printThread(w, &threads[i])
	}
}

// gapLine says how often the thread's loop was held up, and for how long at most; the JSON has more thresholds.
func gapLine(t *pmd.ThreadStats) string {
	var counts []string
	for _, g := range t.Gaps {
		if over := time.Duration(g.Over) * time.Microsecond; over == 100*time.Microsecond || over == time.Millisecond {
			counts = append(counts, fmt.Sprintf("%d over %v", g.Count, over))
		}
	}
	if counts == nil || t.TSCHz == 0 {
		return ""
	}
	longest := time.Duration(float64(t.LongestGapCycles) / float64(t.TSCHz) * 1e9).Round(time.Microsecond)
	line := fmt.Sprintf("%s, longest %v", strings.Join(counts, ", "), longest)
	return strings.ReplaceAll(line, "µ", "u") // as durations are written in the configuration
}

// maxNoteName is how much of a port's name stands before a note, so that there is room for the note.
const maxNoteName = 32

func printThread(w io.Writer, t *vswitch.PMDInfo) {
	node := ""
	if t.Node >= 0 {
		node = fmt.Sprintf(", NUMA node %d", t.Node)
	}
	fmt.Fprintf(w, "PMD thread %d: CPU %d%s, %s, load %.1f%%\n", t.Thread, t.CPU, node, t.State, t.Load)
	all := t.BusyCycles + t.IdleCycles + t.SleepCycles
	fmt.Fprintf(w, "  cycles: %s busy, %s idle, %s asleep; %d sleeps, %s packets a batch\n", percent(t.BusyCycles, all),
		percent(t.IdleCycles, all), percent(t.SleepCycles, all), t.Sleeps, ratio(t.Packets, t.Batches))
	for _, b := range t.Bridges {
		fmt.Fprintf(w, "  bridge %s: cache %d of %d flows, %s hits\n", b.Bridge, b.Cache.Entries, b.Cache.Size,
			percent(b.Cache.Hits, b.Cache.Hits+b.Cache.Misses))
	}
	if line := gapLine(&t.ThreadStats); line != "" {
		fmt.Fprintf(w, "  gaps: %s\n", line)
	}
	if t.Faults > 0 {
		fmt.Fprintf(w, "  memory faults survived: %d\n", t.Faults)
	}
	if len(t.Queues) == 0 {
		return
	}
	rows := newTable("PORT", ">QUEUE", ">NODE", ">PACKETS", ">PKTS/BATCH", ">CYCLES/PKT", ">LOAD")
	for i := range t.Queues {
		q := &t.Queues[i]
		rows.row(q.Port, q.Queue, numberOr(q.Node, -1, "-"), q.Packets, ratio(q.Packets, q.Batches),
			strings.TrimSuffix(ratio(q.Cycles, q.Packets), ".0"), fmt.Sprintf("%.1f%%", q.Load))
	}
	rows.print(w, "  ")
	for i := range t.Queues {
		if note := queueNote(&t.Queues[i]); note != "" {
			head := fmt.Sprintf("  %s queue %d: ", cut(t.Queues[i].Port, maxNoteName), t.Queues[i].Queue)
			fmt.Fprintln(w, head+wrap(note, len(head)))
		}
	}
}

// queueNote says what is special about a queue on a PMD thread.
func queueNote(q *pmd.QueueStats) string {
	var notes []string
	for _, n := range []struct {
		is   bool
		text string
	}{
		{q.Pinned, "pinned to this CPU"},
		{q.PinUnmet, "pinned to a CPU without PMD thread"},
		{q.CrossNUMA, "its memory is on another node"},
		{q.Suspended, "suspended since a memory fault"},
	} {
		if n.is {
			notes = append(notes, n.text)
		}
	}
	return strings.Join(notes, "; ")
}

// percent is a of b.
func percent(a, b uint64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(a)/float64(b))
}
