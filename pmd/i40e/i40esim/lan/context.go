package lan

import (
	"errors"
	"fmt"
)

// Sizes in bytes of the context objects in HMC memory (GLHMC_LANTXOBJSZ 7, GLHMC_LANRXOBJSZ 5).
const (
	TxContextLen = 128
	RxContextLen = 32
)

// Bounds of context fields (XL710 datasheet, "LAN Queue Context").
const (
	ringMultiple  = 32                 // QLEN out of PXE mode, in descriptors
	maxRing       = 8192 - 32          // QLEN
	minRxBuffer   = 1024               // DBUFF in bytes
	maxRxBuffer   = 16*1024 - baseUnit // DBUFF in bytes
	minRxMax      = 64                 // RXMAX in bytes
	baseUnit      = 128                // BASE and DBUFF, in bytes
	hbuffUnit     = 64                 // HBUFF, in bytes
	dtypeNoSplit  = 0
	dtypeReserved = 3
	headWBAlign   = 4
)

// ErrHeaderSplit is the error of a receive context that the silicon would take and this model does not: header split.
var ErrHeaderSplit = errors.New("header split (DTYPE 1 and 2) is not modelled")

// TxContext is a transmit queue's context (128 bytes).
type TxContext struct {
	Head        uint16 // first descriptor to process
	New         bool   // NEW_CONTEXT: everything below starts afresh
	Base        uint64 // bus address of the ring, in bytes
	FCoE        bool
	Timesync    bool
	FlowDirect  bool // FD_ENA: filter programming descriptors are obeyed
	AltVLAN     bool // tags come from the alternate VLAN
	CPUID       uint8
	THeadWB     uint16
	HeadWB      bool // completions store the head index at HeadWBAddr
	HeadWBAddr  uint64
	Len         uint16 // descriptors in the ring
	TPHReadDesc bool
	TPHReadData bool
	TPHWrite    bool
	CRC         uint32
	ReadyList   uint16 // the scheduler's queue set handle
	ReadyActive bool
}

// RxContext is a receive queue's context (32 bytes).
type RxContext struct {
	Head         uint16
	CPUID        uint8
	Base         uint64 // bus address of the ring, in bytes
	Len          uint16 // descriptors in the ring
	Buffer       int    // DBUFF: bytes in each data buffer
	HeaderBuffer int    // HBUFF: bytes in each header buffer
	DescType     uint8  // DTYPE: 0 no header split
	Long         bool   // DSIZE: 32-byte descriptors instead of 16
	StripCRC     bool
	FCoE         bool
	L2TSel       bool // the first tag goes to L2TAG1 (else to L2TAG2) and the second to the other
	Split0       uint8
	Split1       uint8
	ShowIV       bool // the inner tag of tunnelled frames is taken off
	RxMax        int  // longest frame in bytes
	TPHReadDesc  bool
	TPHWriteDesc bool
	TPHData      bool
	TPHHead      bool
	LowThreshold uint8 // LRXQTHRESH, in 64 descriptors
	Prefetch     bool  // PREFENA, must be set
}

// field is one field of a context: name, lowest bit, width, and where it goes.
type field[T any] struct {
	name  string
	lsb   int
	width int
	get   func(*T) uint64
	set   func(*T, uint64)
}

// number is a field that counts units.
func number[T any, N uint8 | uint16 | uint32 | uint64 | int](
	name string, lsb, width int, unit N, at func(*T) *N,
) field[T] {
	return field[T]{
		name: name, lsb: lsb, width: width,
		get: func(c *T) uint64 { return uint64(*at(c) / unit) },
		set: func(c *T, v uint64) { *at(c) = N(v) * unit },
	}
}

// flag is a field of one bit.
func flag[T any](name string, lsb int, at func(*T) *bool) field[T] {
	return field[T]{
		name: name, lsb: lsb, width: 1,
		get: func(c *T) uint64 { return bit(*at(c)) },
		set: func(c *T, v uint64) { *at(c) = v != 0 },
	}
}

// txFields are the fields of the transmit context; every bit in none of them is reserved.
var txFields = []field[TxContext]{
	number("HEAD", 0, 13, 1, func(c *TxContext) *uint16 { return &c.Head }),
	flag("NEW_CONTEXT", 30, func(c *TxContext) *bool { return &c.New }),
	number("BASE", 32, 57, baseUnit, func(c *TxContext) *uint64 { return &c.Base }),
	flag("FC_ENA", 89, func(c *TxContext) *bool { return &c.FCoE }),
	flag("TIMESYNC_ENA", 90, func(c *TxContext) *bool { return &c.Timesync }),
	flag("FD_ENA", 91, func(c *TxContext) *bool { return &c.FlowDirect }),
	flag("ALT_VLAN_ENA", 92, func(c *TxContext) *bool { return &c.AltVLAN }),
	number("CPUID", 96, 8, 1, func(c *TxContext) *uint8 { return &c.CPUID }),
	number("THEAD_WB", 128, 13, 1, func(c *TxContext) *uint16 { return &c.THeadWB }),
	flag("HEAD_WBEN", 160, func(c *TxContext) *bool { return &c.HeadWB }),
	number("QLEN", 161, 13, 1, func(c *TxContext) *uint16 { return &c.Len }),
	flag("TPHRDESC", 174, func(c *TxContext) *bool { return &c.TPHReadDesc }),
	flag("TPHRPACKET", 175, func(c *TxContext) *bool { return &c.TPHReadData }),
	flag("TPHWDESC", 176, func(c *TxContext) *bool { return &c.TPHWrite }),
	number("HEAD_WBADDR", 192, 64, 1, func(c *TxContext) *uint64 { return &c.HeadWBAddr }),
	number("CRC", 896, 32, 1, func(c *TxContext) *uint32 { return &c.CRC }),
	number("RDYLIST", 980, 10, 1, func(c *TxContext) *uint16 { return &c.ReadyList }),
	flag("RDYLIST_ACT", 990, func(c *TxContext) *bool { return &c.ReadyActive }),
}

// rxFields are the fields of the receive context; every bit in none of them is reserved.
var rxFields = []field[RxContext]{
	number("HEAD", 0, 13, 1, func(c *RxContext) *uint16 { return &c.Head }),
	number("CPUID", 13, 8, 1, func(c *RxContext) *uint8 { return &c.CPUID }),
	number("BASE", 32, 57, baseUnit, func(c *RxContext) *uint64 { return &c.Base }),
	number("QLEN", 89, 13, 1, func(c *RxContext) *uint16 { return &c.Len }),
	number("DBUFF", 102, 7, baseUnit, func(c *RxContext) *int { return &c.Buffer }),
	number("HBUFF", 109, 5, hbuffUnit, func(c *RxContext) *int { return &c.HeaderBuffer }),
	number("DTYPE", 114, 2, 1, func(c *RxContext) *uint8 { return &c.DescType }),
	flag("DSIZE", 116, func(c *RxContext) *bool { return &c.Long }),
	flag("CRCSTRIP", 117, func(c *RxContext) *bool { return &c.StripCRC }),
	flag("FC_ENA", 118, func(c *RxContext) *bool { return &c.FCoE }),
	flag("L2TSEL", 119, func(c *RxContext) *bool { return &c.L2TSel }),
	number("HSPLIT_0", 120, 4, 1, func(c *RxContext) *uint8 { return &c.Split0 }),
	number("HSPLIT_1", 124, 2, 1, func(c *RxContext) *uint8 { return &c.Split1 }),
	flag("SHOWIV", 127, func(c *RxContext) *bool { return &c.ShowIV }),
	number("RXMAX", 174, 14, 1, func(c *RxContext) *int { return &c.RxMax }),
	flag("TPHRDESC", 193, func(c *RxContext) *bool { return &c.TPHReadDesc }),
	flag("TPHWDESC", 194, func(c *RxContext) *bool { return &c.TPHWriteDesc }),
	flag("TPHDATA", 195, func(c *RxContext) *bool { return &c.TPHData }),
	flag("TPHHEAD", 196, func(c *RxContext) *bool { return &c.TPHHead }),
	number("LRXQTHRESH", 198, 3, 1, func(c *RxContext) *uint8 { return &c.LowThreshold }),
	flag("PREFENA", 201, func(c *RxContext) *bool { return &c.Prefetch }),
}

// DecodeTxContext reads a transmit context of TxContextLen bytes. The context is complete whenever b is long enough;
// the error joins all that the datasheet forbids: reserved bits that are set, by number, and impossible values.
func DecodeTxContext(b []byte) (TxContext, error) {
	c, err := decode(b, TxContextLen, txFields)
	return c, wrap("transmit", errors.Join(err, c.check()))
}

// DecodeRxContext reads a receive context of RxContextLen bytes, as DecodeTxContext does.
func DecodeRxContext(b []byte) (RxContext, error) {
	c, err := decode(b, RxContextLen, rxFields)
	return c, wrap("receive", errors.Join(err, c.check()))
}

// Encode returns the context as it lies in HMC memory.
func (c *TxContext) Encode() []byte { return encode(c, TxContextLen, txFields) }

// Encode returns the context as it lies in HMC memory.
func (c *RxContext) Encode() []byte { return encode(c, RxContextLen, rxFields) }

func (c *TxContext) check() error {
	errs := []error{checkRing(c.Base, c.Len, c.Head)}
	if c.HeadWB && c.HeadWBAddr%headWBAlign != 0 {
		errs = append(errs, fmt.Errorf("HEAD_WBADDR %#x is not a multiple of %d", c.HeadWBAddr, headWBAlign))
	}
	if c.HeadWB && c.HeadWBAddr == 0 {
		errs = append(errs, errors.New("HEAD_WBEN is set and HEAD_WBADDR is zero"))
	}
	return errors.Join(errs...)
}

func (c *RxContext) check() error {
	errs := []error{checkRing(c.Base, c.Len, c.Head)}
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case c.DescType == dtypeReserved:
		fail("DTYPE %d is reserved", c.DescType)
	case c.DescType != dtypeNoSplit:
		errs = append(errs, ErrHeaderSplit)
	}
	if c.Buffer < minRxBuffer || c.Buffer > maxRxBuffer {
		fail("DBUFF %d bytes is outside %d..%d", c.Buffer, minRxBuffer, maxRxBuffer)
	}
	if c.RxMax < minRxMax || c.RxMax > MaxFrame {
		fail("RXMAX %d is outside %d..%d", c.RxMax, minRxMax, MaxFrame)
	}
	if !c.Prefetch {
		fail("PREFENA must be 1")
	}
	return errors.Join(errs...)
}

func checkRing(base uint64, length, head uint16) error {
	var errs []error
	if base == 0 {
		errs = append(errs, errors.New("BASE is zero"))
	}
	if length == 0 || length > maxRing || length%ringMultiple != 0 {
		errs = append(errs, fmt.Errorf("QLEN %d is not a multiple of %d up to %d", length, ringMultiple, maxRing))
	} else if head >= length {
		errs = append(errs, fmt.Errorf("HEAD %d is not below QLEN %d", head, length))
	}
	return errors.Join(errs...)
}

func wrap(which string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lan: %s queue context: %w", which, err)
}

// decode takes the fields out of b and reports reserved bits.
func decode[T any](b []byte, length int, fields []field[T]) (T, error) {
	var c T
	if len(b) < length {
		return c, fmt.Errorf("%d bytes, want %d", len(b), length)
	}
	known := make([]byte, length)
	for i := range fields {
		f := &fields[i]
		f.set(&c, getBits(b, f.lsb, f.width))
		setBits(known, f.lsb, f.width, 1<<f.width-1)
	}
	var reserved []int
	for bitNo := range length * 8 {
		if b[bitNo/8]&^known[bitNo/8]>>(bitNo%8)&1 != 0 {
			reserved = append(reserved, bitNo)
		}
	}
	if reserved != nil {
		return c, fmt.Errorf("reserved bits %v are set", reserved)
	}
	return c, nil
}

func encode[T any](c *T, length int, fields []field[T]) []byte {
	b := make([]byte, length)
	for i := range fields {
		f := &fields[i]
		setBits(b, f.lsb, f.width, f.get(c))
	}
	return b
}

// getBits reads width <= 64 bits from bit lsb of the little-endian bit string b.
func getBits(b []byte, lsb, width int) uint64 {
	var v uint64
	for i := range width {
		n := lsb + i
		v |= uint64(b[n/8]>>(n%8)&1) << i
	}
	return v
}

func setBits(b []byte, lsb, width int, v uint64) {
	for i := range width {
		n := lsb + i
		b[n/8] = b[n/8]&^(1<<(n%8)) | byte(v>>i&1)<<(n%8)
	}
}

func bit(set bool) uint64 {
	if set {
		return 1
	}
	return 0
}
