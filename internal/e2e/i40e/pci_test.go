//go:build i40e

package i40e

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"weft/internal/e2e/vm"
)

// pfFacts are what dumps of real cards show of the PF (lspci -vvv of X710 and XL710 cards with firmware 8 and 9). The
// capabilities for SR-IOV and ARI are missing: qemu does not let a guest see them.
var pfFacts = []string{
	`Class \[0200\]: Device \[8086:1572\] \(rev 0[12]\)`,
	`Region 0: Memory at [0-9a-f]+ \(64-bit, prefetchable\) \[size=8M\]`,
	`Region 3: Memory at [0-9a-f]+ \(64-bit, prefetchable\) \[size=32K\]`,
	`Expansion ROM at [0-9a-f]+ \[disabled\] \[size=512K\]`,
	`Capabilities: \[40\] Power Management version 3`,
	`Capabilities: \[50\] MSI: Enable- Count=1/1 Maskable\+ 64bit\+`,
	`Capabilities: \[70\] MSI-X: Enable- Count=129 Masked-`,
	`Vector table: BAR=3 offset=00000000`,
	`PBA: BAR=3 offset=00001000`,
	`Capabilities: \[a0\] Express \(v2\) Endpoint`,
	`MaxPayload 2048 bytes`,
	`FLReset\+`,
	`LnkCap:.*Speed 8GT/s, Width x8`,
	`Capabilities: \[e0\] Vital Product Data`,
	`Capabilities: \[100 v2\] Advanced Error Reporting`,
	`Capabilities: \[140 v1\] Device Serial Number`,
	`Capabilities: \[1a0 v1\] Transaction Processing Hints`,
	`Capabilities: \[1b0 v1\] Access Control Services`,
	`Capabilities: \[1d0 v1\] Secondary PCI Express`,
}

// vfFacts are those of a VF, which qemu shows as a function of its own.
var vfFacts = []string{
	`Class \[0200\]: Device \[8086:154c\]`,
	`Region 0: Memory at [0-9a-f]+ \(64-bit, prefetchable\) \[size=64K\]`,
	`Region 3: Memory at [0-9a-f]+ \(64-bit, prefetchable\) \[size=16K\]`,
	`MSI-X: Enable- Count=5 Masked-`,
	`Vector table: BAR=3 offset=00000000`,
	`PBA: BAR=3 offset=00002000`,
	`Express \(v2\) Endpoint`,
}

// biosFacts are what SeaBIOS says while it gives the PF its addresses. Index 6 is the expansion ROM.
var biosFacts = []string{
	`PCI: init bdf=01:00\.0 id=8086:1572`,
	`PCI: map device bdf=01:00\.0\s+bar 0, addr [0-9a-f]+, size 00800000 \[prefmem\]`,
	`PCI: map device bdf=01:00\.0\s+bar 3, addr [0-9a-f]+, size 00008000 \[prefmem\]`,
	`PCI: map device bdf=01:00\.0\s+bar 6, addr [0-9a-f]+, size 00080000 \[mem\]`,
}

// TestPCIEnumeration is the gate of those who look at the card before any driver does: SeaBIOS and Linux.
func TestPCIEnumeration(t *testing.T) {
	r := newRig(t, 3*time.Minute)
	port, _ := r.newLane()
	pf := r.newCard("pf", port, nil)
	vf := r.newVF(pf, 0)
	bios := r.dir + "/seabios.log"
	r.boot(vm.Config{
		Name: "pci", Image: shared.linux, MemoryMB: 512,
		Devices: append(devices(pf.function(), vf),
			"-chardev", "file,id=bios,path="+bios, "-device", "isa-debugcon,iobase=0x402,chardev=bios"),
	})
	text, err := os.ReadFile(bios)
	r.must(err)
	r.mustHold("SeaBIOS", string(text), biosFacts)
	r.mustHold("lspci of the PF", r.exec("lspci", "-vvv", "-nn", "-d", "8086:1572"), pfFacts)
	r.mustHold("lspci of the VF", r.exec("lspci", "-vvv", "-nn", "-d", "8086:154c"), vfFacts)
	for line := range strings.Lines(r.exec("dmesg")) {
		if regexp.MustCompile(`pci 0000:0[12]:.*(failed|can't|conflict|no space|bogus|invalid)`).MatchString(line) {
			t.Errorf("the kernel is not pleased with a card: %s", strings.TrimSpace(line))
		}
	}
	// The NVM as large as that of a real card passes the driver's checksum.
	r.insmod("i40e", "")
	r.netdev()
	r.rmmod("i40e")
	r.checkKernelLog()
	pf.check(r, "PCI enumeration and one load of Linux i40e")
}

// mustHold wants each pattern in the text.
func (r *rig) mustHold(what, text string, patterns []string) {
	r.t.Helper()
	missing := 0
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			r.t.Errorf("%s does not show %q", what, p)
			missing++
		}
	}
	if missing > 0 {
		r.t.Logf("%s:\n%s", what, text)
	}
}
