package i40esim

import (
	"fmt"
	"io"
	"math/bits"
	"time"

	"weft/pmd/i40e/i40esim/adminq"
)

// Wire is where a port is plugged in. Send borrows the frame, which carries no frame check sequence and no padding
// beyond the 60 bytes of a minimal frame; frames come in by Device.Receive.
type Wire interface {
	Send(frame []byte)
}

// Config says what card a Device is. The zero value is an X710 with one 10G SFP+ port, all 16 VFs free, plugged into
// nothing, on the machine's clock.
type Config struct {
	// Card is what the firmware knows: ids, addresses, sizes, speed. Zero fields are those of adminq.DefaultConfig.
	// NVM nil means a shadow RAM made by NewNVM.
	Card adminq.Config
	// Revision, SubVendor and SubDevice of PCI configuration space; zero means 2, 8086 and 0001.
	Revision             uint8
	SubVendor, SubDevice uint16

	Wire  Wire
	Clock Clock
	// Timing is how long what takes time takes; zero fields are those of DefaultTiming.
	Timing Timing
	// Trace gets every step of the driver as text; see Device.SetTrace.
	Trace io.Writer
	// LinkDown starts with the cable out.
	LinkDown bool
}

// Timing is how long things take. Real figures are the silicon's and firmware's and not known better than drivers'
// limits.
type Timing struct {
	PFReset      time.Duration // PFGEN_CTRL.PFSWR until it clears
	ResetWarning time.Duration // GLGEN_RTRIG until the device resets: as long as GLGEN_RSTCTL.GRSTDEL says
	GlobalReset  time.Duration // CORER, GLOBR until GLGEN_RSTAT says that it is over
	EMPReset     time.Duration // the same for EMPR
	VFReset      time.Duration // VPGEN_VFRTRIG until VPGEN_VFRSTAT says that it is over
	QueueEnable  time.Duration // QENA_REQ until QENA_STAT follows
	QueueDisable time.Duration
	QDISSettle   time.Duration // SET_QDIS until QENA_REQ may be cleared
}

// DefaultTiming is inside what drivers wait for, and long enough that a driver that does not wait fails.
func DefaultTiming() Timing {
	return Timing{
		PFReset: time.Millisecond, ResetWarning: time.Second, GlobalReset: 100 * time.Millisecond,
		EMPReset: 300 * time.Millisecond, VFReset: time.Millisecond,
		QueueEnable: 10 * time.Microsecond, QueueDisable: 100 * time.Microsecond, QDISSettle: 10 * time.Microsecond,
	}
}

func (t *Timing) fill() {
	d := DefaultTiming()
	for _, f := range []struct{ v, standard *time.Duration }{
		{&t.PFReset, &d.PFReset},
		{&t.ResetWarning, &d.ResetWarning},
		{&t.GlobalReset, &d.GlobalReset},
		{&t.EMPReset, &d.EMPReset},
		{&t.VFReset, &d.VFReset},
		{&t.QueueEnable, &d.QueueEnable},
		{&t.QueueDisable, &d.QueueDisable},
		{&t.QDISSettle, &d.QDISSettle},
	} {
		if *f.v == 0 {
			*f.v = *f.standard
		}
	}
}

// fill completes a Config.
func (c *Config) fill() error {
	d := adminq.DefaultConfig()
	if c.Card.VFs == 0 && c.Card.Queues == 0 {
		c.Card.VFs = d.VFs
	}
	if c.Card.MAC == (adminq.MAC{}) {
		c.Card.MAC = d.MAC
	}
	if c.Card.DeviceID == 0 {
		c.Card.DeviceID = d.DeviceID
	}
	if c.Revision == 0 {
		c.Revision = 2
	}
	if c.SubVendor == 0 {
		c.SubVendor = vendorIntel
	}
	if c.SubDevice == 0 {
		c.SubDevice = 1
	}
	if c.Clock == nil {
		c.Clock = SystemClock{}
	}
	c.Timing.fill()
	if c.Card.NVM == nil {
		c.Card.NVM = NewNVM(c.Card.MAC, c.Card.DeviceID)
	}
	if n := len(c.Card.NVM); n < SmallNVMWords || n > NVMWords || bits.OnesCount(uint(n)) != 1 {
		return fmt.Errorf("i40esim: the shadow RAM has %d words, must have a power of two from %d to %d", n, SmallNVMWords,
			NVMWords)
	}
	return nil
}
