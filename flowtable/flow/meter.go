package flow

import (
	"fmt"
	"slices"
	"time"
)

// MeterFlags are OpenFlow's (OpenFlow 1.3 §A.3.4.4).
type MeterFlags uint8

// The flags. Rates are in one of the two units; kilobits count the frame without its check sequence.
const (
	MeterKbps  MeterFlags = 1 << iota // rates in kilobits a second
	MeterPktps                        // rates in packets a second
	MeterBurst                        // bands have a burst size; otherwise it is what the rate lets through in a second
	MeterStats                        // kept; statistics are always there
)

// MaxBands is how many bands a meter may have.
const MaxBands = 8

// Band is a rate above which a meter drops packets.
type Band struct {
	Rate  uint32 // kilobits or packets a second
	Burst uint32 // kilobits or packets; 0 without MeterBurst
}

// Meter is an entry of the meter table.
type Meter struct {
	ID    uint32
	Flags MeterFlags
	Bands []Band // of type drop
}

// Equal reports whether m and o are the same.
func (m *Meter) Equal(o *Meter) bool {
	return m.ID == o.ID && m.Flags == o.Flags && slices.Equal(m.Bands, o.Bands)
}

// Validate checks what ParseMeter checks, for meters that a program made.
func (m *Meter) Validate() error {
	unit := m.Flags & (MeterKbps | MeterPktps)
	switch {
	case m.ID == 0 || m.ID > MaxMeter:
		return fmt.Errorf("flowtable: meter %d: meters are numbered 1 to %d", m.ID, uint32(MaxMeter))
	case unit != MeterKbps && unit != MeterPktps:
		return fmt.Errorf("flowtable: meter %d: give either kbps or pktps", m.ID)
	case m.Flags >= MeterStats<<1:
		return fmt.Errorf("flowtable: meter %d: unknown flags %#x", m.ID, uint8(m.Flags))
	case len(m.Bands) == 0:
		return fmt.Errorf("flowtable: meter %d has no bands", m.ID)
	case len(m.Bands) > MaxBands:
		return fmt.Errorf("flowtable: meter %d has %d bands: at most %d", m.ID, len(m.Bands), MaxBands)
	}
	for i, b := range m.Bands {
		switch {
		case b.Rate == 0:
			return fmt.Errorf("flowtable: meter %d: band %d has no rate", m.ID, i+1)
		case m.Flags&MeterBurst != 0 && b.Burst == 0:
			return fmt.Errorf("flowtable: meter %d: band %d needs burst_size, since the flag burst is set", m.ID, i+1)
		case m.Flags&MeterBurst == 0 && b.Burst != 0:
			return fmt.Errorf("flowtable: meter %d: band %d has burst_size, which needs the flag burst", m.ID, i+1)
		}
	}
	return nil
}

// MeterCommand is what a MeterMod does.
type MeterCommand uint8

// The commands (OpenFlow 1.3 §6.8).
const (
	MeterAdd       MeterCommand = iota // an error if the meter is there
	MeterModify                        // an error if it is not
	MeterDelete                        // and the rules that use it; no error if it is not there
	MeterDeleteAll                     // all meters and the rules that use one
)

// MeterMod is a change to the meter table. Of Meter, MeterDelete takes the ID.
type MeterMod struct {
	Command MeterCommand
	Meter   Meter
}

// BandStats is what a band dropped.
type BandStats struct{ Packets, Bytes uint64 }

// MeterStatus is a meter and what it did.
type MeterStatus struct {
	Meter    Meter
	Refs     int // rules that use the meter
	Packets  uint64
	Bytes    uint64
	Duration time.Duration
	Bands    []BandStats
}
