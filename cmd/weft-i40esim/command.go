package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // it could not be done, or --strict and a driver did what it must not
	exitUsage = 2 // the command line cannot be understood
)

// options are the flags.
type options struct {
	socket, peerSocket string
	vfSockets          []string
	pciID, mac, speed  string
	vfs                int
	linkDown           bool

	join        string
	tapMTU      int
	replaySpeed float64
	replayLoop  bool
	replayAwait bool
	capture     string

	trace  string
	strict bool
	quiet  bool
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run carries out one command line until ctx ends, and returns its exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	cmd := command(out, errOut)
	cmd.SetArgs(args)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(errOut, "weft-i40esim: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(errOut, "weft-i40esim: try 'weft-i40esim --help'")
		return exitUsage
	}
	return exitError
}

const help = `Serve a model of an Intel X710 or XL710 card on a vfio-user socket. The model is strict: what the datasheet forbids
a driver is printed at the end, with the last steps of the driver. SIGINT and SIGTERM end it.

The kinds of card (--pci-id):
%s

qemu 10.1 or later plugs the card in; its memory must be shared:

  qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 512 -nodefaults -nographic \
    -object memory-backend-memfd,id=mem,size=512M,share=on -machine memory-backend=mem \
    -kernel VMLINUZ -initrd INITRD -append console=ttyS0 -serial stdio \
    -device pcie-root-port,id=rp0,slot=1 \
    -device '{"driver":"vfio-user-pci","bus":"rp0","socket":{"type":"unix","path":"i40e.sock"}}'

For a driver that uses VFIO inside the guest (DPDK) add -device intel-iommu,caching-mode=on,intremap=on and the kernel
arguments intel_iommu=on iommu=pt. A VF's socket goes to a second root port of the same or of another guest; the PF's
driver must be running and have enabled it, as it answers the VF.`

const examples = `  weft-i40esim --socket i40e.sock --join tap:wire0        # the host's wire0 is the other end of the card's wire
  weft-i40esim --socket a.sock --join peer --peer-socket b.sock --strict
  weft-i40esim --socket i40e.sock --join pcap:in.pcap --capture all.pcapng --trace steps.txt`

func command(out, errOut io.Writer) *cobra.Command {
	o := new(options)
	cmd := &cobra.Command{
		Use:           "weft-i40esim --socket PATH [flags]",
		Short:         "Serve a model of an Intel X710/XL710 card on a vfio-user socket",
		Long:          fmt.Sprintf(help, kindList()),
		Example:       examples,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unexpected argument %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.plan()
			if err != nil {
				return usageError{err}
			}
			return s.run(cmd.Context(), out, errOut)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.socket, "socket", "s", "", "socket of the card's physical function")
	f.StringArrayVar(&o.vfSockets, "vf-socket", nil, "socket of a virtual function: the first is VF 0, ...")
	f.StringVar(&o.pciID, "pci-id", "8086:1572", "kind of card")
	f.StringVar(&o.mac, "mac", "3c:fd:fe:00:00:01", "the card's MAC address")
	f.StringVar(&o.speed, "speed", "", "link speed, such as 10G; without, the card's usual one")
	f.IntVar(&o.vfs, "vfs", 16, "virtual functions that the card has")
	f.BoolVar(&o.linkDown, "link-down", false, "the cable is out")
	f.StringVarP(&o.join, "join", "j", "none", "what the port is plugged into: tap:NAME, pcap:FILE, peer, none")
	f.StringVar(&o.peerSocket, "peer-socket", "", "socket of the second card, for --join peer")
	f.IntVar(&o.tapMTU, "tap-mtu", 0, "MTU of the tap interface; 0 leaves the kernel's")
	f.Float64Var(&o.replaySpeed, "replay-speed", 1, "how many times as fast as recorded; less than 0 without pauses")
	f.BoolVar(&o.replayLoop, "replay-loop", false, "replay the file again and again")
	f.BoolVar(&o.replayAwait, "replay-await", false, "begin the replay with the first frame that the card sends")
	f.StringVar(&o.capture, "capture", "", "record the wire in a file: pcapng when it ends in .pcapng, else pcap")
	f.StringVar(&o.trace, "trace", "", "write each step of the driver to a file (and .peer)")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 when a driver did what it must not")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no messages about clients")
	return cmd
}

// plan checks the flags.
func (o *options) plan() (*simulation, error) {
	s := &simulation{options: *o}
	if o.socket == "" {
		return nil, errors.New("say where to listen: --socket PATH")
	}
	var err error
	if s.kind, err = kindOf(o.pciID); err != nil {
		return nil, err
	}
	if s.speed, err = s.kind.speedOf(o.speed); err != nil {
		return nil, err
	}
	if s.address, err = macOf(o.mac); err != nil {
		return nil, err
	}
	if o.vfs < 0 || o.vfs > 128 {
		return nil, fmt.Errorf("%d virtual functions: a card has 0 to 128", o.vfs)
	}
	if len(o.vfSockets) > o.vfs {
		return nil, fmt.Errorf("%d sockets for virtual functions, but --vfs %d", len(o.vfSockets), o.vfs)
	}
	if err := o.distinctSockets(); err != nil {
		return nil, err
	}
	return s, o.checkJoin()
}

func (o *options) distinctSockets() error {
	seen := make(map[string]bool)
	for _, path := range append([]string{o.socket, o.peerSocket}, o.vfSockets...) {
		if path != "" && seen[path] {
			return fmt.Errorf("socket %s is given twice", path)
		}
		seen[path] = true
	}
	return nil
}

func (o *options) checkJoin() error {
	kind, arg, _ := strings.Cut(o.join, ":")
	switch {
	case (kind == "tap" || kind == "pcap") && arg == "":
		return fmt.Errorf("--join %s: say which, %s:NAME", o.join, kind)
	case kind == "peer" && o.peerSocket == "":
		return errors.New("--join peer needs --peer-socket PATH for the second card")
	case kind != "peer" && o.peerSocket != "":
		return errors.New("--peer-socket is only for --join peer")
	case kind != "tap" && o.tapMTU != 0:
		return errors.New("--tap-mtu is only for --join tap:NAME")
	case kind != "pcap" && (o.replayLoop || o.replayAwait || o.replaySpeed != 1):
		return errors.New("--replay-... is only for --join pcap:FILE")
	case o.replaySpeed == 0:
		return errors.New("--replay-speed 0 would never end; less than 0 is without pauses")
	case kind == "tap", kind == "pcap":
		return nil
	case (kind == "peer" || kind == "none") && arg == "" && !strings.Contains(o.join, ":"):
		if kind == "none" && o.capture != "" {
			return errors.New("--capture needs a wire: --join tap:NAME, pcap:FILE or peer")
		}
		return nil
	}
	return fmt.Errorf("--join %q: use tap:NAME, pcap:FILE, peer or none", o.join)
}
