package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/vhostuser/virtq"
)

// patience bounds every waiting of these tests.
const patience = 10 * time.Second

// front is a front end that sends whatever a test tells it to.
type front struct {
	t    testing.TB
	conn *net.UnixConn
}

// dial connects to a server port.
func dial(t testing.TB, path string) *front {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t, conn.(*net.UnixConn)}
	t.Cleanup(f.close)
	return f
}

func (f *front) close() { _ = f.conn.Close() }

// wire is a message as bytes.
func wire(req Request, flags uint32, payload []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(payload))
	order.PutUint32(b[0:], uint32(req))
	order.PutUint32(b[4:], flags)
	order.PutUint32(b[8:], uint32(len(payload)))
	return append(b, payload...)
}

// raw sends bytes and descriptors. That the port has hung up already is no error of the test.
func (f *front) raw(b []byte, fds ...int) {
	f.t.Helper()
	if err := sys.SendFDs(f.conn, b, fds); err != nil && !hungUp(err) {
		f.t.Fatal(err)
	}
}

func (f *front) send(req Request, payload []byte, fds ...int) {
	f.t.Helper()
	f.raw(wire(req, flagVersion, payload), fds...)
}

// answer reads one reply.
func (f *front) answer() (Request, []byte, error) {
	_ = f.conn.SetReadDeadline(time.Now().Add(patience))
	var h [headerSize]byte
	if _, err := io.ReadFull(f.conn, h[:]); err != nil {
		return 0, nil, err
	}
	if got := order.Uint32(h[4:]); got != flagVersion|flagReply {
		return 0, nil, fmt.Errorf("reply flags %#x", got)
	}
	b := make([]byte, order.Uint32(h[8:]))
	_, err := io.ReadFull(f.conn, b)
	return Request(order.Uint32(h[0:])), b, err
}

// ask sends a request that has an answer of its own, and returns that.
func (f *front) ask(req Request, payload []byte, fds ...int) []byte {
	f.t.Helper()
	f.send(req, payload, fds...)
	got, b, err := f.answer()
	if err != nil {
		f.t.Fatalf("%v: %v", req, err)
	}
	if got != req {
		f.t.Fatalf("%v was answered by %v", req, got)
	}
	return b
}

func (f *front) askU64(req Request, payload []byte) uint64 {
	f.t.Helper()
	return order.Uint64(f.ask(req, payload))
}

// do sends a request with need_reply and returns whether it was done. REPLY_ACK must be negotiated.
func (f *front) do(req Request, payload []byte, fds ...int) bool {
	f.t.Helper()
	f.raw(wire(req, flagVersion|flagNeedReply, payload), fds...)
	got, b, err := f.answer()
	if err != nil || got != req || len(b) != sizeU64 {
		f.t.Fatalf("%v: acknowledgement: %v, %d bytes, %v", req, got, len(b), err)
	}
	return order.Uint64(b) == 0
}

// must is do for what has to work.
func (f *front) must(req Request, payload []byte, fds ...int) {
	f.t.Helper()
	if !f.do(req, payload, fds...) {
		f.t.Fatalf("%v was refused", req)
	}
}

// sync returns when everything sent so far was handled.
func (f *front) sync() { f.t.Helper(); f.askU64(GetFeatures, nil) }

// ended fails the test unless the port ends the session.
func (f *front) ended() {
	f.t.Helper()
	for {
		_, _, err := f.answer()
		if err == nil {
			continue
		}
		if !hungUp(err) {
			f.t.Fatalf("the session goes on: %v", err)
		}
		return
	}
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "broken pipe")
}

// negotiate acknowledges everything that the port offers, but for packed rings.
func (f *front) negotiate() { f.t.Helper(); f.negotiateAllBut(featPacked) }

func (f *front) negotiateAllBut(not uint64) {
	f.t.Helper()
	f.send(SetOwner, nil)
	features := f.askU64(GetFeatures, nil) &^ not
	f.send(SetProtocolFeatures, encodeU64(f.askU64(GetProtocolFeatures, nil)))
	f.must(SetFeatures, encodeU64(features))
}

// guest is memory with virtqueues in it, as a front end shares it.
type guest struct {
	t       testing.TB
	file    *os.File
	mem     []byte
	gpa     uint64
	user    uint64
	rings   []guestRing
	free    uint64
	kickFDs []*os.File
}

// guestRing is where the parts of one virtqueue lie in the guest's memory.
type guestRing struct {
	size              uint32
	desc, avail, used uint64
	call              int
	callFile          *os.File
}

const (
	guestGPA  = 0x1_0000_0000
	guestUser = 0x7000_0000_0000
	guestSize = 1 << 20
)

// memoryName marks the mappings of these tests in /proc/self/maps.
const memoryName = "weft-vhostuser-test-"

// memoryFile is an unnamed file of size bytes of shared memory. The test closes it.
func memoryFile(t testing.TB, size int64) *os.File {
	t.Helper()
	file, err := os.CreateTemp("/dev/shm", memoryName)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(file.Name())
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return file
}

// newGuest makes memory and rings for pairs pairs of queues.
func newGuest(t testing.TB, pairs int, size uint32) *guest {
	t.Helper()
	file := memoryFile(t, guestSize)
	mem, err := sys.MapShared(int(file.Fd()), 0, guestSize)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, file: file, mem: mem, gpa: guestGPA, user: guestUser, free: 0x1000}
	for range 2 * pairs {
		g.rings = append(g.rings, g.newRing(size))
	}
	t.Cleanup(g.close)
	return g
}

func (g *guest) newRing(size uint32) guestRing {
	take := func(n uint64) uint64 {
		at := g.free
		g.free = (at + n + 0xfff) &^ 0xfff
		return at
	}
	file, fd, err := sys.EventFile()
	if err != nil {
		g.t.Fatal(err)
	}
	return guestRing{
		size: size, desc: take(virtq.DescBytes(size)), avail: take(virtq.AvailBytes(size)),
		used: take(virtq.UsedBytes(size)), call: fd, callFile: file,
	}
}

func (g *guest) close() {
	if g.mem == nil {
		return
	}
	_ = sys.UnmapShared(g.mem)
	g.mem = nil
	_ = g.file.Close()
	for _, r := range g.rings {
		_ = r.callFile.Close()
	}
	for _, k := range g.kickFDs {
		_ = k.Close()
	}
}

func (g *guest) fd() int { return int(g.file.Fd()) }

// kickFD makes a descriptor to kick with.
func (g *guest) kickFD() int {
	file, fd, err := sys.EventFile()
	if err != nil {
		g.t.Fatal(err)
	}
	g.kickFDs = append(g.kickFDs, file)
	return fd
}

// interrupts reads how often the guest was interrupted for ring i.
func (g *guest) interrupts(i int) uint64 {
	_ = g.rings[i].callFile.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	var b [8]byte
	if _, err := g.rings[i].callFile.Read(b[:]); err != nil {
		return 0
	}
	return binary.NativeEndian.Uint64(b[:])
}

// table is a SET_MEM_TABLE payload.
func table(regions ...regionSpec) []byte {
	b := order.AppendUint32(nil, uint32(len(regions)))
	b = order.AppendUint32(b, 0)
	for _, r := range regions {
		b = append(b, encodeRegion(r)...)
	}
	return b
}

func encodeRegion(r regionSpec) []byte {
	var b []byte
	for _, v := range []uint64{r.gpa, r.size, r.user, r.offset} {
		b = order.AppendUint64(b, v)
	}
	return b
}

func oneRegion(r regionSpec) []byte { return append(make([]byte, 8), encodeRegion(r)...) }

func (g *guest) region() regionSpec { return regionSpec{g.gpa, guestSize, g.user, 0} }

func (g *guest) addr(i int) []byte {
	r := g.rings[i]
	b := order.AppendUint32(nil, uint32(i))
	b = order.AppendUint32(b, 0)
	for _, at := range []uint64{g.user + r.desc, g.user + r.used, g.user + r.avail, 0} {
		b = order.AppendUint64(b, at)
	}
	return b
}

func state(i int, n uint32) []byte { return vringState{uint32(i), n}.encode() }

// setMemory shares the guest's memory.
func (g *guest) setMemory(f *front) { f.t.Helper(); f.must(SetMemTable, table(g.region()), g.fd()) }

// startRing sets ring i up from base and starts it, without enabling it.
func (g *guest) startRing(f *front, i int, base uint16) {
	f.t.Helper()
	f.must(SetVringCall, encodeU64(uint64(i)), g.rings[i].call)
	f.must(SetVringNum, state(i, g.rings[i].size))
	f.must(SetVringBase, state(i, uint32(base)))
	f.must(SetVringAddr, g.addr(i))
	f.must(SetVringKick, encodeU64(uint64(i)), g.kickFD())
}

// start brings everything up, in qemu's order.
func (g *guest) start(f *front) {
	f.t.Helper()
	f.negotiate()
	g.setMemory(f)
	for i := range g.rings {
		g.startRing(f, i, 0)
	}
	for i := range g.rings {
		f.must(SetVringEnable, state(i, 1))
	}
}

// post makes frame available on ring i, in descriptor slot, behind a virtio-net header of 12 bytes.
func (g *guest) post(i int, slot uint16, frame []byte, writable bool) {
	r := g.rings[i]
	at := uint64(guestSize/2) + uint64(i)<<16 + uint64(slot)*2048
	n := copy(g.mem[at+12:], frame) + 12
	d := g.mem[r.desc+16*uint64(slot):]
	binary.LittleEndian.PutUint64(d, g.gpa+at)
	binary.LittleEndian.PutUint32(d[8:], uint32(n))
	binary.LittleEndian.PutUint16(d[12:], map[bool]uint16{true: 2}[writable])
	g.postHead(i, slot)
}

// postHead makes a descriptor available as it is.
func (g *guest) postHead(i int, head uint16) {
	r := g.rings[i]
	idx := binary.LittleEndian.Uint16(g.mem[r.avail+2:])
	binary.LittleEndian.PutUint16(g.mem[r.avail+4+2*uint64(idx&uint16(r.size-1)):], head)
	binary.LittleEndian.PutUint16(g.mem[r.avail+2:], idx+1)
}

// usedIdx is how far the device came on ring i.
func (g *guest) usedIdx(i int) uint16 { return binary.LittleEndian.Uint16(g.mem[g.rings[i].used+2:]) }

// pmd polls a port's queues as a PMD thread would: it loops rx queue n to tx queue n.
type pmd struct {
	epoch  atomic.Uint64
	synced atomic.Uint64 // calls of synchronize
	stop   atomic.Bool
	done   sync.WaitGroup
	port   atomic.Pointer[Port]
	calls  atomic.Uint64 // of changed
	held   sync.Mutex    // holding it stops the polling
	faults atomic.Uint64
	stray  atomic.Uint64 // faults that the port did not own
}

// faultIn runs f and returns the address of the memory fault that ended it, else 0.
func faultIn(f func()) (addr uintptr) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr
		}:
			addr = r.Addr()
		default:
			panic(r)
		}
	}()
	f()
	return 0
}

func (d *pmd) run() {
	b := packet.NewBatch(nil)
	idx := make([]uint8, packet.BatchSize)
	for i := range idx {
		idx[i] = uint8(i)
	}
	for !d.stop.Load() {
		d.held.Lock()
		if p := d.port.Load(); p != nil {
			if addr := faultIn(func() {
				for i, rx := range p.RxQueues() {
					if n := rx.Receive(b); n > 0 {
						p.TxQueues()[i].Transmit(b, idx[:n])
						rx.Release(b)
					}
				}
			}); addr != 0 {
				d.faults.Add(1)
				if !p.Fault(addr) {
					d.stray.Add(1)
				}
			}
		}
		d.held.Unlock()
		d.epoch.Add(1)
		time.Sleep(50 * time.Microsecond)
	}
}

func (d *pmd) synchronize() {
	d.synced.Add(1)
	for at := d.epoch.Load(); d.epoch.Load() < at+2 && !d.stop.Load(); {
		time.Sleep(20 * time.Microsecond)
	}
}

// logs collects what a port logs.
type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// bench is a port under test with its PMD thread.
type bench struct {
	*Port
	pmd  *pmd
	log  *logs
	path string
}

// newBench opens a server port in a folder of its own, and polls it.
func newBench(t testing.TB, cfg Config) *bench {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "s")
		cfg.Server = true
	}
	cfg.Name = "vm"
	d := &pmd{}
	b := &bench{pmd: d, log: &logs{}, path: cfg.Path}
	p, err := Open(cfg, Host{
		Changed: func() { d.calls.Add(1) }, Synchronize: d.synchronize,
		Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Port = p
	d.port.Store(p)
	d.done.Go(d.run)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		d.stop.Store(true)
		d.done.Wait()
	})
	return b
}

// cutOff truncates a guest's memory between two polls: under the race detector, sync/atomic runs on a stack from which Go
// cannot recover a fault that comes in the midst of it.
func (b *bench) cutOff(g *guest) {
	g.t.Helper()
	b.pmd.held.Lock()
	defer b.pmd.held.Unlock()
	if err := g.file.Truncate(0); err != nil {
		g.t.Fatal(err)
	}
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// openFDs lists this process's descriptors by what they refer to.
func openFDs(t testing.TB) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			out[e.Name()] = to
		}
	}
	return out
}

// noLeak fails the test when there are more descriptors or mappings of guest memory than when it was called, at the
// time the returned function is.
func noLeak(t testing.TB) func() {
	t.Helper()
	before, maps := len(openFDs(t)), guestMaps(t)
	return func() {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
			fds, now := openFDs(t), guestMaps(t)
			if len(fds) <= before && now <= maps { // what was about to be closed then is closed now
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d descriptors and %d mappings became %d and %d: %v", before, maps, len(fds), now, fds)
			}
		}
	}
}

// guestMaps counts the mappings of memory files in this process.
func guestMaps(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), memoryName)
}
