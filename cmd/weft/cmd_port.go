package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/packet"
	"weft/switch"
)

func (a *app) bridgeCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the bridges", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bridges, err := routeBridges.call(cmd.Context(), a, &noRequest{})
			if err != nil {
				return err
			}
			return a.show(bridges, func(w io.Writer) { printBridges(w, bridges) })
		},
	}
	return group("bridge", "Show bridges", list)
}

func printBridges(w io.Writer, bridges []vswitch.BridgeInfo) {
	t := newTable("BRIDGE", ">PORTS", ">RULES", ">MACS", ">CACHE HITS", ">MISSES", ">DROPPED")
	for i := range bridges {
		b := &bridges[i]
		t.row(b.Name, b.Ports, b.Rules, b.FDB.Entries, b.Cache.Hits, b.Cache.Misses, b.Dropped)
	}
	t.print(w, "")
}

func (a *app) portCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list [BRIDGE]", Short: "List the ports with their link and totals", Args: rangeArgs(0, 1),
		ValidArgsFunction: a.completeBridges,
		RunE: func(cmd *cobra.Command, args []string) error {
			ports, err := routePorts.call(cmd.Context(), a, &bridgeRequest{Bridge: optional(args)})
			if err != nil {
				return err
			}
			return a.show(ports, func(w io.Writer) { printPorts(w, ports) })
		},
	}
	show := &cobra.Command{
		Use: "show PORT", Short: "Show everything about a port: session, queues, drops and their reasons", Args: exactArgs(1),
		ValidArgsFunction: a.completePorts,
		RunE: func(cmd *cobra.Command, args []string) error {
			port, err := routePort.call(cmd.Context(), a, &portRequest{args[0]})
			if err != nil {
				return err
			}
			return a.show(port, func(w io.Writer) { printPort(w, port, time.Now()) })
		},
	}
	del := &cobra.Command{
		Use: "del PORT", Short: "Remove a port from the running switch; a reload brings a configured one back",
		Args: exactArgs(1), ValidArgsFunction: a.completePorts,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := routePortDel.call(cmd.Context(), a, &portRequest{args[0]}); err != nil {
				return err
			}
			return a.say(map[string]string{"deleted": args[0]}, "port %s deleted", args[0])
		},
	}
	return group("port", "Show and change ports", list, show, a.portAddCommand(), del)
}

func (a *app) portAddCommand() *cobra.Command {
	var bridge string
	var options []string
	cmd := &cobra.Command{
		Use:   "add NAME --driver DRIVER [flags]",
		Short: "Add a port to the running switch",
		Long: paragraphs(
			"Adds a port to the running switch. It is not written to the configuration file, and a reload leaves "+
				"it.",
			"Fields that have no flag, such as a driver's own, are given with --option NAME=VALUE.",
		),
		Example: "  weft port add vm3 --driver vhost-user --path /run/weft/vm3.sock --queues 2\n" +
			"  weft port add wire2 --driver tap --device tap2 --mtu 9000 --option ring_size=1024",
		Args:              exactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVarP(&bridge, "bridge", "b", "", "bridge that gets the port; may be left out when there is only one")
	flags.String("driver", "", "kind of port: "+strings.Join(driverNames(), ", "))
	flags.Int("number", 0, "OpenFlow port number; 0: chosen")
	flags.Int("queues", 0, "queue pairs; 0: the driver's default")
	flags.Int("mtu", 0, "longest layer 3 payload in bytes; 0: none enforced")
	flags.String("path", "", "unix socket of a vhost-user port")
	flags.String("mode", "", "server (Weft listens) or client (Weft connects)")
	flags.String("device", "", "kernel interface of a tap port")
	flags.String("owner", "", "owner of the socket or interface")
	flags.String("group", "", "group of the socket or interface")
	flags.String("permissions", "", "octal mode of the socket")
	flags.String("vlan-mode", "", "trunk, access, native-tagged, native-untagged or dot1q-tunnel; access if there is a tag")
	flags.Int("vlan-tag", 0, "the port's VLAN")
	flags.StringSlice("vlan-trunks", nil, "VLANs of a trunk: 10,20-29; all if there are none")
	flags.StringArrayVar(&options, "option", nil, "another field, as NAME=VALUE")
	must(cmd.RegisterFlagCompletionFunc("driver", fixed(driverNames()...)))
	must(cmd.RegisterFlagCompletionFunc("mode", fixed(vswitch.ModeServer, vswitch.ModeClient)))
	must(cmd.RegisterFlagCompletionFunc("bridge", a.completeBridges))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		port, err := portFields(cmd, args[0], options)
		if err != nil {
			return err
		}
		info, err := routePortAdd.call(cmd.Context(), a, &portAddRequest{bridge, port})
		if err != nil {
			return err
		}
		return a.say(info, "port %s added to %s as number %d", info.Name, info.Bridge, info.Number)
	}
	return cmd
}

// portFields collects the flags of port add that were given, as fields of the configuration.
func portFields(cmd *cobra.Command, name string, options []string) (map[string]any, error) {
	port := map[string]any{"name": name}
	for _, f := range []string{"driver", "path", "mode", "device", "owner", "group", "permissions"} {
		if cmd.Flags().Changed(f) {
			port[f], _ = cmd.Flags().GetString(f)
		}
	}
	for _, f := range []string{"number", "queues", "mtu"} {
		if n, _ := cmd.Flags().GetInt(f); n != 0 {
			port[f] = n
		}
	}
	if v := vlanFields(cmd); len(v) > 0 {
		port["vlan"] = v
	}
	for _, o := range options {
		key, value, found := strings.Cut(o, "=")
		if !found || key == "" {
			return nil, &usageError{fmt.Errorf("--option %q: write NAME=VALUE", o), cmd}
		}
		if _, twice := port[key]; twice {
			return nil, &usageError{fmt.Errorf("--option %s: the field is given twice", key), cmd}
		}
		port[key] = value
	}
	return port, nil
}

// vlanFields collects the flags about VLANs that were given.
func vlanFields(cmd *cobra.Command) map[string]any {
	v := map[string]any{}
	if s, _ := cmd.Flags().GetString("vlan-mode"); s != "" {
		v["mode"] = s
	}
	if cmd.Flags().Changed("vlan-tag") {
		v["tag"], _ = cmd.Flags().GetInt("vlan-tag")
	}
	if list, _ := cmd.Flags().GetStringSlice("vlan-trunks"); len(list) > 0 {
		v["trunks"] = list
	}
	return v
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func printPorts(w io.Writer, ports []vswitch.PortInfo) {
	t := newTable("PORT", "BRIDGE", ">NO", "DRIVER", "LINK", "STATE", ">RX PKTS", ">TX PKTS", ">DROPS")
	for i := range ports {
		p := &ports[i]
		t.row(p.Name, p.Bridge, p.Number, p.Driver, upDown(p.Link), p.State, p.Rx.Packets, p.Tx.Packets,
			p.Rx.Dropped+p.Tx.Dropped)
	}
	t.print(w, "")
}

func printPort(w io.Writer, p *vswitch.PortInfo, now time.Time) {
	head := pairs{}
	head.add("port", "%s (number %d of bridge %s, from %s)", p.Name, p.Number, p.Bridge, p.Origin)
	head.add("driver", "%s", p.Driver)
	if v := p.Config.VLAN.String(); v != "" {
		head.add("vlan", "%s", v)
	}
	link := upDown(p.Link)
	if p.State != link {
		link += ", " + p.State
	}
	head.add("link", "%s", link)
	if p.Error != "" {
		when := ""
		if !p.ErrorTime.IsZero() {
			when = fmt.Sprintf(" (%s ago)", now.Sub(p.ErrorTime).Round(time.Second))
		}
		head.add("last error", "%s%s", p.Error, when)
	}
	head.add("mtu", "%s", numberOr(p.MTU, 0, "none enforced"))
	head.add("numa node", "%s", numberOr(p.Node, -1, "unknown"))
	if p.Sessions != 0 || p.Disconnects != 0 {
		head.add("sessions", "%d, %d ended", p.Sessions, p.Disconnects)
	}
	head.add("mac addresses", "%d learned", p.MACs)
	head = append(head, describeDetail(p)...)
	head.print(w, "")

	fmt.Fprintln(w, "\nfrom the port (rx):")
	printQueues(w, p.RxQueues, true)
	fmt.Fprintln(w, "\nto the port (tx):")
	printQueues(w, p.TxQueues, false)
	printDrops(w, "\ndropped on reception:", p.Rx.Drops)
	printDrops(w, "\ndropped on transmission:", p.Tx.Drops)
}

// numberOr is the number, or what it means when it is none.
func numberOr(n, none int, meaning string) string {
	if n == none {
		return meaning
	}
	return fmt.Sprint(n)
}

func printQueues(w io.Writer, queues []vswitch.QueueInfo, rx bool) {
	t := newTable(">QUEUE", "ACTIVE", ">CPU", ">PACKETS", ">BYTES", ">PKTS/BATCH", ">DROPS")
	for i := range queues {
		q := &queues[i]
		cpu := "-"
		if rx && q.CPU >= 0 {
			cpu = fmt.Sprint(q.CPU)
		}
		active := "no"
		if q.Active {
			active = "yes"
		}
		t.row(q.Index, active, cpu, q.Packets, q.Bytes, ratio(q.Packets, q.Batches), q.Dropped)
	}
	t.print(w, "  ")
}

// ratio is a/b with one decimal.
func ratio(a, b uint64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(a)/float64(b))
}

// printDrops lists drops by reason, each with its sentence, the most frequent first.
func printDrops(w io.Writer, title string, drops map[string]uint64) {
	if len(drops) == 0 {
		return
	}
	fmt.Fprintln(w, title)
	names := make([]string, 0, len(drops))
	width := 0
	for name, n := range drops {
		names = append(names, name)
		width = max(width, len(fmt.Sprint(n)))
	}
	slices.SortFunc(names, func(x, y string) int {
		if drops[x] != drops[y] {
			if drops[x] > drops[y] {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	for _, name := range names {
		head := fmt.Sprintf("  %*d  %-17s  ", width, drops[name], name)
		fmt.Fprintln(w, head+wrap(sentence(name), len(head)))
	}
}

// sentence explains a drop reason by its name.
func sentence(name string) string {
	for r := range packet.DropReason(packet.NumDropReasons) {
		if r.String() == name {
			return r.Sentence()
		}
	}
	return "a reason that this version of the command line does not know"
}

func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
