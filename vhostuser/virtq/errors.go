package virtq

import "fmt"

// Violation is a rule of the virtqueue that a guest broke.
type Violation uint8

// The violations. Each breaks the ring.
const (
	AvailIndexJump Violation = iota + 1
	HeadOutOfRange
	NextOutOfRange
	ChainTooLong
	BadAddress
	IndirectNotNegotiated
	NestedIndirect
	IndirectWithNext
	IndirectBadLength
	WrongDirection
)

var violationTexts = map[Violation]string{
	AvailIndexJump:        "the available index is ahead by more than the ring's size",
	HeadOutOfRange:        "an available entry names a descriptor outside the table",
	NextOutOfRange:        "a descriptor's next field points outside its table",
	ChainTooLong:          "a descriptor chain is longer than the ring, or loops",
	BadAddress:            "a descriptor's buffer is not wholly inside guest memory",
	IndirectNotNegotiated: "an indirect descriptor was used but INDIRECT_DESC was not negotiated",
	NestedIndirect:        "an indirect table contains an indirect descriptor",
	IndirectWithNext:      "a descriptor is both indirect and chained",
	IndirectBadLength:     "an indirect table's length is zero or not a multiple of 16",
	WrongDirection:        "a transmit buffer is device-writable, or a receive buffer is not",
}

// String is the rule in one sentence.
func (v Violation) String() string { return violationTexts[v] }

// RingError says what a guest did to break its ring. The guest recovers by resetting the device.
type RingError struct {
	Violation Violation
	// Index is the available index (modulo 2^16) at which it was seen, in a packed ring the first descriptor of the burst in
	// which it was. Descriptor is the descriptor's number in its table, Value the offending field: an address, index or length.
	Index      uint16
	Descriptor uint16
	Value      uint64
}

func (e *RingError) Error() string {
	return fmt.Sprintf("%s (ring index %d, descriptor %d, value %#x)", e.Violation, e.Index, e.Descriptor, e.Value)
}
