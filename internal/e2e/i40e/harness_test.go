//go:build i40e

package i40e

import (
	"strings"
	"testing"
	"time"

	"weft/internal/e2e/vm"
)

// TestTheGuestsAreWhatTheGatesBelieve: what fails here is the harness and not the model.
func TestTheGuestsAreWhatTheGatesBelieve(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  vm.Config
		runs func(r *rig)
	}{
		{"linux", vm.Config{Image: shared.linux, MemoryMB: 512}, func(r *rig) {
			r.insmod("i40e", "")
			r.insmod("iavf", "")
			if out := r.exec("ethtool", "--version"); !strings.Contains(out, "ethtool version") {
				t.Errorf("ethtool: %s", out)
			}
			if out := r.exec("dmesg"); !strings.Contains(out, "i40e: Intel(R) Ethernet Connection XL710") {
				t.Errorf("the i40e driver did not introduce itself:\n%s", out)
			}
			r.rmmod("i40e")
			r.rmmod("iavf")
		}},
		{"dpdk", vm.Config{
			Image: shared.dpdk, MemoryMB: 1024, CPUs: 2, KernelArgs: "intel_iommu=on iommu=pt hugepages=192",
			Devices: []string{
				"-device", "intel-iommu,caching-mode=on,intremap=on", "-device", "pcie-root-port,id=port0,slot=1",
				"-device", "e1000e,bus=port0",
			},
		}, func(r *rig) {
			r.bindVFIO("0000:01:00.0") // a card of qemu's own
			_, err := r.guest.ReadFile(r.ctx, "/sys/bus/pci/drivers/vfio-pci/0000:01:00.0/vendor")
			r.must(err)
			// Without a port it ends with an error, after it has said what it found.
			out, _ := r.try("stdbuf", "-oL", "dpdk-testpmd", "-l", "0,1", "-v", "--no-telemetry", "--in-memory", "-m", "256",
				"--log-level=lib.eal:debug")
			r.mustHold("testpmd", out, []string{
				`DPDK 24\.11`, `IOMMU type 1 \(Type 1\) is supported`, `Added 256M to heap`, `No probed ethernet devices`,
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, 2*time.Minute)
			test.cfg.Name = test.name
			r.boot(test.cfg)
			hello, err := r.guest.Hello(r.ctx)
			r.must(err)
			if !strings.HasPrefix(hello.Kernel, "6.12.") {
				t.Errorf("the guest runs Linux %s, want 6.12", hello.Kernel)
			}
			test.runs(r)
		})
	}
}
