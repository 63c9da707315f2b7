package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/wire"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"weft-i40esim": main}) }

// TestScripts runs the command as its users do: testdata/script/*.txtar.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor": func(ts *testscript.TestScript, _ bool, args []string) {
				for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
					if _, err := os.Lstat(ts.MkAbs(args[0])); err == nil {
						return
					}
					if time.Now().After(end) {
						ts.Fatalf("waited %s for %s", patience, args[0])
					}
				}
			},
			"terminate": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, c := range ts.BackgroundCmds() {
					ts.Check(c.Process.Signal(syscall.SIGTERM))
				}
			},
		},
	})
}

const patience = 20 * time.Second

// output is what a command has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// running is a command that serves.
type running struct {
	t        *testing.T
	out, err output
	cancel   context.CancelFunc
	code     chan int
}

// start runs the command until it is ready.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, cancel: cancel, code: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.code <- run(ctx, args, &r.out, &r.err)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	for end := time.Now().Add(patience); !strings.Contains(r.out.String(), "ready\n"); time.Sleep(time.Millisecond) {
		select {
		case <-ended:
			t.Fatalf("it ended: %s", r.err.String())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("not ready: %s%s", r.out.String(), r.err.String())
		}
	}
	return r
}

// stop ends the command as a signal does, and returns its exit code.
func (r *running) stop() int {
	r.t.Helper()
	r.cancel()
	select {
	case code := <-r.code:
		return code
	case <-time.After(patience):
		r.t.Fatal("it does not end")
		return -1
	}
}

// driver is a client of the card.
type driver struct {
	t *testing.T
	*vfiouser.Client
}

func dial(t *testing.T, path string) *driver {
	t.Helper()
	c, err := vfiouser.Dial(t.Context(), path, vfiouser.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &driver{t, c}
}

func (d *driver) read(region int, offset uint64) uint32 {
	d.t.Helper()
	var b [4]byte
	if err := d.ReadRegion(region, offset, b[:]); err != nil {
		d.t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(b[:])
}

func (d *driver) write(region int, offset uint64, v uint32) {
	d.t.Helper()
	if err := d.WriteRegion(region, offset, binary.LittleEndian.AppendUint32(nil, v)); err != nil {
		d.t.Fatal(err)
	}
}

// enable lets the function decode its BARs and master the bus (PCI command register).
func (d *driver) enable() { d.write(vfiouser.RegionConfig, 4, 6) }

// Registers of BAR 0 (datasheet).
const (
	rstat       = 0xB8188 // GLGEN_RSTAT
	linkSta     = 0x1E2420
	linkUp      = 1 << 30
	noRegister  = 0x7FFFF0
	pciIDOffset = 0
)

func TestCardsAreServedUntilASignal(t *testing.T) {
	dir := t.TempDir()
	pf, vf, trace := filepath.Join(dir, "pf"), filepath.Join(dir, "vf"), filepath.Join(dir, "trace")
	r := start(t, "-s", pf, "--vf-socket", vf, "--pci-id", "158b", "--mac", "02:00:00:00:00:09", "--trace", trace,
		"--strict", "--quiet")
	if want := "PF 8086:158b 02:00:00:00:00:09 on " + pf + "\nVF 0 8086:154c on " + vf + "\nready\n"; r.out.String() != want {
		t.Errorf("it says %q, want %q", r.out.String(), want)
	}
	a, b := dial(t, pf), dial(t, vf)
	if id := a.read(vfiouser.RegionConfig, pciIDOffset); id != 0x158b8086 {
		t.Errorf("the PF is %#x", id)
	}
	// A VF's own configuration space has ones there; a hypervisor shows its guest the real numbers.
	if id := b.read(vfiouser.RegionConfig, pciIDOffset); id != 0x154c8086 {
		t.Errorf("the VF is %#x", id)
	}
	a.enable()
	if v := a.read(vfiouser.RegionBAR0, rstat); v&3 != 0 {
		t.Errorf("GLGEN_RSTAT is %#x", v)
	}
	if v := a.read(vfiouser.RegionBAR0, linkSta); v&linkUp == 0 {
		t.Errorf("PRTMAC_LINKSTA is %#x", v)
	}
	if code := r.stop(); code != exitOK {
		t.Errorf("exit code %d: %s", code, r.err.String())
	}
	if !strings.Contains(r.out.String(), "card: 2 registers read, 0 written, 0 admin queue commands used; 0 violations\n") {
		t.Errorf("it ends with %q", r.out.String())
	}
	text, err := os.ReadFile(trace)
	if err != nil || !strings.Contains(string(text), "PF0 read  GLGEN_RSTAT") ||
		!strings.Contains(string(text), "PF0 read  PRTMAC_LINKSTA") {
		t.Errorf("the trace is %q, %v", text, err)
	}
	for _, path := range []string{pf, vf} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
}

func TestStrictTellsByTheExitCode(t *testing.T) {
	for _, strict := range []bool{false, true} {
		pf := filepath.Join(t.TempDir(), "pf")
		args, want := []string{"-s", pf, "-q"}, exitOK
		if strict {
			args, want = append(args, "--strict"), exitError
		}
		r := start(t, args...)
		d := dial(t, pf)
		d.enable()
		d.read(vfiouser.RegionBAR0, rstat)
		d.write(vfiouser.RegionBAR0, noRegister, 1)
		d.Close()
		if code := r.stop(); code != want {
			t.Errorf("strict %v: exit code %d", strict, code)
		}
		text := r.err.String()
		if !strings.Contains(text, "card: violation: ") || !strings.Contains(text, "0x7ffff0") ||
			!strings.Contains(text, "after PF0 read  GLGEN_RSTAT") {
			t.Errorf("strict %v: it says %q", strict, text)
		}
		if !strings.Contains(r.out.String(), " 1 violations\n") {
			t.Errorf("strict %v: it ends with %q", strict, r.out.String())
		}
	}
}

func TestPeerIsASecondCard(t *testing.T) {
	dir := t.TempDir()
	pf, peer, trace := filepath.Join(dir, "pf"), filepath.Join(dir, "peer"), filepath.Join(dir, "trace")
	capture := filepath.Join(dir, "x.pcapng")
	r := start(t, "-s", pf, "--join", "peer", "--peer-socket", peer, "--trace", trace, "--capture", capture, "--link-down")
	for _, path := range []string{pf, peer} {
		d := dial(t, path)
		d.enable()
		if v := d.read(vfiouser.RegionBAR0, linkSta); v&linkUp != 0 {
			t.Errorf("%s: the cable is not out: PRTMAC_LINKSTA is %#x", path, v)
		}
	}
	if code := r.stop(); code != exitOK {
		t.Errorf("exit code %d: %s", code, r.err.String())
	}
	for _, want := range []string{
		"PF 8086:1572 3c:fd:fe:00:00:01 on " + pf, "PF 8086:1572 3c:fd:fe:00:00:81 on " + peer,
		"card: wire: 0 frames sent, 0 received, 0 dropped", "peer: wire: 0 frames",
	} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("no %q in %q", want, r.out.String())
		}
	}
	for _, path := range []string{trace, trace + ".peer", capture} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestFramesOfAFileComeIn(t *testing.T) {
	dir := t.TempDir()
	pf, in, out := filepath.Join(dir, "pf"), filepath.Join(dir, "in.pcap"), filepath.Join(dir, "out.pcap")
	c, err := wire.CreateCapture(in)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		c.Received(time.Unix(int64(i), 0), make([]byte, 100))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, "-s", pf, "--join", "pcap:"+in, "--replay-speed", "-1", "--capture", out)
	want, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(out); err == nil && info.Size() == int64(len(want)) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the frames do not come")
		}
	}
	if code := r.stop(); code != exitOK || !strings.Contains(r.out.String(), "0 frames sent, 5 received, 0 dropped") {
		t.Errorf("exit code %d, %q", code, r.out.String())
	}
}

func TestKindsOfCard(t *testing.T) {
	for i := range kinds {
		k := &kinds[i]
		found, err := kindOf(strings.ToUpper(strings.TrimPrefix(kindLine(k), "8086:")))
		if err != nil || found != k {
			t.Errorf("%s: %v, %v", k.name, found, err)
		}
		for s := adminq.Speed(1); s != 0; s <<= 1 {
			if k.speeds&s == 0 {
				continue
			}
			phy, known := k.phy[s]
			if !known || k.phys>>phy&1 == 0 {
				t.Errorf("%s: no medium at %d Mbit/s", k.name, s.Mbps())
			}
			sim := simulation{kind: k, speed: s, address: adminq.MAC{2}}
			if err := sim.build(); err != nil {
				t.Errorf("%s at %d Mbit/s: %v", k.name, s.Mbps(), err)
			}
		}
	}
}

func kindLine(k *kind) string {
	for line := range strings.Lines(kindList()) {
		if strings.Contains(line, k.name) {
			return strings.Fields(line)[0]
		}
	}
	return ""
}
