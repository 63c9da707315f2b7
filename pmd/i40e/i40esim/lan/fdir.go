package lan

import "weft/pmd/i40e/i40esim/frame"

// FilterCommand is PCMD of a filter programming descriptor.
type FilterCommand uint8

// The values of the field.
const (
	FilterAdd    FilterCommand = 1 // or update
	FilterRemove FilterCommand = 2
)

// FilterDest is DEST of a filter programming descriptor.
type FilterDest uint8

// The values of the field.
const (
	DestDrop  FilterDest = 0
	DestQueue FilterDest = 1 // to QIndex of the VSI
	DestOther FilterDest = 2 // as if no filter had matched
)

// FilterReport is FD_STATUS of a filter programming descriptor: what the receive descriptor tells of a match.
type FilterReport uint8

// The values of the field.
const (
	ReportNone    FilterReport = 0
	ReportID      FilterReport = 1
	ReportIDFlex4 FilterReport = 2
	ReportFlex8   FilterReport = 3
)

// FilterProgram is a filter programming descriptor, DTYPE 8. The packet that follows it in the ring gives the values of
// the fields to match.
type FilterProgram struct {
	Queue        uint16 // within the destination VSI
	FlexOffset   uint8
	PCType       frame.PCType
	VSI          uint16
	Command      FilterCommand
	Dest         FilterDest
	Count        bool // matches count in Counter
	Report       FilterReport
	Counter      uint16
	ID           uint32
	reservedBits uint64
}

// Reserved bits of the descriptor: in quad word 0 bits 14..16 and the upper half, in quad word 1 9, 10, 12, 15..19 (18
// evicts on the X722 alone) and 29..31.
const (
	filterReserved0 = 0xFFFF_FFFF_0001_C000
	filterReserved1 = 0x0000_0000_E00F_9600
)

func (d txDesc) filter() FilterProgram {
	return FilterProgram{
		Queue:        uint16(d[0] & 0x7FF),
		FlexOffset:   uint8(d[0] >> 11 & 7),
		PCType:       frame.PCType(d[0] >> 17 & 0x3F),
		VSI:          uint16(d[0] >> 23 & 0x1FF),
		Command:      FilterCommand(d[1] >> 4 & 7),
		Dest:         FilterDest(d[1] >> 7 & 3),
		Count:        d[1]>>11&1 != 0,
		Report:       FilterReport(d[1] >> 13 & 3),
		Counter:      uint16(d[1] >> 20 & 0x1FF),
		ID:           uint32(d[1] >> 32),
		reservedBits: d[0]&filterReserved0 | d[1]&filterReserved1,
	}
}

// ProgramStatus is the ERROR field of a programming status descriptor. The silicon posts one for failures alone.
type ProgramStatus uint8

// The values of the field.
const (
	Programmed    ProgramStatus = 0
	TableFull     ProgramStatus = 1 << 0 // FD_TBL_FULL: no room for another filter
	NoSuchFilter  ProgramStatus = 1 << 1 // NO_FD_ENTRY: nothing to remove
	filterKeySize               = 48     // bytes of an input set that take part in the match
)

// FlowDirector is the table of exact-match filters, shared by the functions of a device.
type FlowDirector struct {
	limit   int
	filters map[filterKey]FilterProgram
}

type filterKey struct {
	pctype frame.PCType
	vsi    uint16
	fields [filterKeySize]byte
}

// NewFlowDirector makes an empty table of at most limit filters.
func NewFlowDirector(limit int) *FlowDirector {
	return &FlowDirector{limit: limit, filters: make(map[filterKey]FilterProgram)}
}

// Len is the number of filters.
func (t *FlowDirector) Len() int { return len(t.filters) }

// Clear removes all filters (PFQF_CTL_1.CLEARFDTABLE).
func (t *FlowDirector) Clear() { clear(t.filters) }

// Program adds or removes the filter p for packets of the flow to which the one with the fields v is the answer, as
// far as the input set of the filter's PCTYPE looks at them: the silicon takes the packet as one that is sent, and
// exchanges source and destination. (The drivers reverse the fields of their programming packets for that reason.)
func (t *FlowDirector) Program(p *FilterProgram, v *frame.FieldVector, set frame.InputSet) ProgramStatus {
	exchanged := v.Exchange(p.PCType)
	key := keyOf(p.PCType, p.VSI, &exchanged, set)
	_, found := t.filters[key]
	switch {
	case p.Command == FilterRemove && !found:
		return NoSuchFilter
	case p.Command == FilterRemove:
		delete(t.filters, key)
	case !found && len(t.filters) >= t.limit:
		return TableFull
	default:
		t.filters[key] = *p
	}
	return Programmed
}

// Lookup finds the filter for a packet of the VSI.
func (t *FlowDirector) Lookup(
	pctype frame.PCType, vsi uint16, v *frame.FieldVector, set frame.InputSet,
) (FilterProgram, bool) {
	if len(t.filters) == 0 {
		return FilterProgram{}, false
	}
	p, found := t.filters[keyOf(pctype, vsi, v, set)]
	return p, found
}

func keyOf(pctype frame.PCType, vsi uint16, v *frame.FieldVector, set frame.InputSet) filterKey {
	k := filterKey{pctype: pctype, vsi: vsi}
	copy(k.fields[:], v.Select(nil, set))
	return k
}
