package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weft/internal/e2e/agent"
	"weft/internal/e2e/guest"
	"weft/internal/e2e/host"
)

// Accel is how qemu runs the guest's processor.
type Accel string

// The accelerators.
const (
	KVM Accel = "kvm"
	TCG Accel = "tcg"
)

// NIC is one virtio-net card on a vhost-user socket.
type NIC struct {
	Socket        string
	Server        bool   // qemu listens and the switch connects
	MAC           string // "52:54:00:00:00:01"
	QueuePairs    int    // at least 1
	NotMergeable  bool   // mrg_rxbuf=off
	Packed        bool   // packed=on, which a modern driver alone can do
	QueueSize     int    // rx_queue_size and tx_queue_size, 0 for qemu's own
	ExtraProperty string // appended to the device, ",name=value"
}

// Config describes a guest.
type Config struct {
	Name      string
	Dir       string // for the control socket; logs go to the group's directory
	Image     *guest.Image
	Accel     Accel
	MemoryMB  int // 256 if 0
	CPUs      int // 1 if 0
	NICs      []NIC
	Addresses []string // "eth0:10.1.0.1/24"
	Hugepages bool     // guest memory from the hugepage pool

	QEMU       []string // the command that is qemu; its name alone if empty
	QEMUEnv    []string // added to qemu's environment
	KernelArgs string   // appended to the kernel's command line
	Devices    []string // appended to qemu's command line
	MachineOpt string   // appended to the -machine argument, ",name=value"
}

// VM is a running guest.
type VM struct {
	*agent.Client
	Config
	Process *host.Process
	Socket  string // the control channel
	monitor string // qemu's own
}

// Start starts qemu and returns at once; Ready waits for the guest.
func Start(g *host.Group, cfg Config) (*VM, error) {
	base := filepath.Join(cfg.Dir, cfg.Name)
	v := &VM{Config: cfg, Socket: base + ".ctl", monitor: base + ".qmp"}
	_, _ = os.Remove(v.Socket), os.Remove(v.monitor) // of an earlier guest of this name
	p, err := g.Start(host.Spec{Name: cfg.Name, Args: cfg.args(v.Socket, v.monitor), Env: cfg.QEMUEnv})
	if err != nil {
		return nil, err
	}
	v.Process = p
	g.Defer(func() {
		if v.Client != nil {
			_ = v.Close()
		}
	})
	return v, nil
}

// bootLimit is how long a guest may take to boot: some five seconds on an idle machine with TCG.
const bootLimit = 90 * time.Second

// Ready waits until the guest's agent answers.
func (v *VM) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	go func() {
		select {
		case <-v.Process.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	c, err := agent.Dial(ctx, v.Name, v.Socket)
	if err != nil {
		state := v.Process.State() + "\n"
		if v.Process.Running() {
			state += machine(v.monitor)
		}
		return fmt.Errorf("guest %s did not come up: %w\n%send of its console:\n%s", v.Name, err, state, v.Process.Tail(15))
	}
	v.Client = c
	return nil
}

// Boot starts a guest and waits until it answers.
func Boot(ctx context.Context, g *host.Group, cfg Config) (*VM, error) {
	v, err := Start(g, cfg)
	if err != nil {
		return nil, err
	}
	return v, v.Ready(ctx)
}

// Kill ends qemu with SIGKILL: the guest gets no say.
func (v *VM) Kill() {
	if v.Client != nil {
		_ = v.Close()
	}
	v.Process.Kill()
}

// args is qemu's command line, such as a user would write.
func (c *Config) args(control, monitor string) []string {
	memory, cpus := c.MemoryMB, max(c.CPUs, 1)
	if memory == 0 {
		memory = 256
	}
	backend := fmt.Sprintf("memory-backend-memfd,id=mem,size=%dM,share=on", memory)
	if c.Hugepages {
		backend += ",hugetlb=on"
	}
	// Not quiet, and from the first line on: a guest that does not come up shows how far it came.
	cmdline := "console=ttyS0 earlyprintk=ttyS0,115200 panic=-1 reboot=t random.trust_cpu=on net.ifnames=0 mitigations=off"
	if c.Accel == TCG {
		// On a busy host the emulated TSC jumps: without these a guest with two processors often stalls in its boot,
		// waiting for a timer that it set by the TSC.
		cmdline += " tsc=unstable lapic=notscdeadline"
	}
	for _, a := range c.Addresses {
		cmdline += " weft.ip=" + a
	}
	if c.KernelArgs != "" {
		cmdline += " " + c.KernelArgs
	}
	qemu := c.QEMU
	if len(qemu) == 0 {
		qemu = []string{"qemu-system-x86_64"}
	}
	args := append(append([]string(nil), qemu...),
		"-name", c.Name, "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35,accel="+string(c.Accel)+",memory-backend=mem,hpet=off,vmport=off"+c.MachineOpt,
		"-cpu", map[Accel]string{KVM: "host", TCG: "max"}[c.Accel],
		"-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory),
		"-object", backend,
		"-kernel", c.Image.Kernel, "-initrd", c.Image.Initrd, "-append", cmdline,
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=control,server=on,wait=off,path="+control, "-serial", "chardev:control",
		"-chardev", "socket,id=monitor,server=on,wait=off,path="+monitor, "-mon", "chardev=monitor,mode=control",
	)
	for i, n := range c.NICs {
		args = append(args, n.args(c.Accel, i)...)
	}
	return append(args, c.Devices...)
}

func (n *NIC) args(accel Accel, i int) []string {
	chardev := fmt.Sprintf("socket,id=vhost%d,path=%s", i, n.Socket)
	if n.Server {
		chardev += ",server=on,wait=off"
	} else {
		chardev += ",reconnect=1"
	}
	pairs := max(n.QueuePairs, 1)
	device := []string{fmt.Sprintf("virtio-net-pci,netdev=net%d", i), "mac=" + n.MAC}
	switch {
	case accel == TCG:
		// qemu 7.2 without KVM ends in a segmentation fault when a vhost-user card has MSI-X: it has no irqfd to route.
		device = append(device, "vectors=0")
		if pairs > 1 {
			device = append(device, "mq=on")
		}
	case pairs > 1:
		// One vector for each queue, one for the control queue, one for configuration changes.
		device = append(device, "mq=on", fmt.Sprintf("vectors=%d", 2*pairs+2))
	}
	if n.NotMergeable {
		device = append(device, "mrg_rxbuf=off")
	}
	if n.Packed {
		device = append(device, "packed=on")
	}
	if n.QueueSize > 0 {
		device = append(device, fmt.Sprintf("rx_queue_size=%d,tx_queue_size=%[1]d", n.QueueSize))
	}
	return []string{
		"-chardev", chardev,
		"-netdev", fmt.Sprintf("vhost-user,id=net%d,chardev=vhost%d,queues=%d", i, i, pairs),
		"-device", strings.Join(device, ",") + ",romfile=" + n.ExtraProperty,
	}
}

// probeLimit is how long a guest may take to boot with KVM. It takes a second or two where KVM works.
const probeLimit = 10 * time.Second

// ProbeAccel boots a guest without network with KVM, and returns KVM if that works and TCG with the reason if not. The
// environment variable WEFT_E2E_ACCEL (kvm or tcg) decides without a trial.
func ProbeAccel(ctx context.Context, g *host.Group, img *guest.Image, dir string) (Accel, string) {
	switch forced := Accel(os.Getenv("WEFT_E2E_ACCEL")); forced {
	case KVM, TCG:
		return forced, "WEFT_E2E_ACCEL says so"
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG, "no KVM: " + err.Error()
	}
	_ = f.Close()
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	v, err := Boot(ctx, g, Config{Name: "kvm-probe", Dir: dir, Image: img, Accel: KVM})
	if v != nil {
		defer v.Kill()
	}
	if err != nil {
		if v != nil && !v.Process.Running() {
			return TCG, "/dev/kvm is there, but qemu cannot use it: " + v.Process.Tail(1)
		}
		return TCG, fmt.Sprintf("/dev/kvm is there, but a guest did not boot with it within %s", probeLimit)
	}
	return KVM, "a guest booted with it"
}
