package lan

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func goodTx() TxContext {
	return TxContext{New: true, Base: ringAt, Len: 64, HeadWB: true, HeadWBAddr: headWBAt, ReadyList: 5, FlowDirect: true}
}

func goodRx() RxContext {
	return RxContext{
		Base: ringAt, Len: 64, Buffer: 2048, Long: true, StripCRC: true, L2TSel: true, RxMax: MaxFrame, LowThreshold: 2,
		Prefetch: true, TPHReadDesc: true, TPHWriteDesc: true, TPHData: true, TPHHead: true,
	}
}

// TestContextsAreTheBitsThatTheDriversWrite holds the drivers' tables of fields: width and lowest bit.
func TestContextsAreTheBitsThatTheDriversWrite(t *testing.T) {
	one := func(b []byte, bit int) bool { return b[bit/8]>>(bit%8)&1 != 0 }
	tx := TxContext{Base: 1 << 7, Len: 1, Head: 1, HeadWB: true, HeadWBAddr: 1, ReadyList: 1, CRC: 1, CPUID: 1, THeadWB: 1}
	b := tx.Encode()
	want := map[int]bool{0: true, 32: true, 96: true, 128: true, 160: true, 161: true, 192: true, 896: true, 980: true}
	for n := range TxContextLen * 8 {
		if one(b, n) != want[n] {
			t.Errorf("transmit context: bit %d is %v", n, one(b, n))
		}
	}
	rx := RxContext{
		Base: 1 << 7, Len: 1, Head: 1, Buffer: 128, HeaderBuffer: 64, DescType: 1, Long: true, StripCRC: true,
		FCoE: true, L2TSel: true, Split0: 1, Split1: 1, ShowIV: true, RxMax: 1, LowThreshold: 1, Prefetch: true,
	}
	b = rx.Encode()
	want = map[int]bool{
		0: true, 32: true, 89: true, 102: true, 109: true, 114: true, 116: true, 117: true, 118: true, 119: true,
		120: true, 124: true, 127: true, 174: true, 198: true, 201: true,
	}
	for n := range RxContextLen * 8 {
		if one(b, n) != want[n] {
			t.Errorf("receive context: bit %d is %v", n, one(b, n))
		}
	}
}

func TestContextsComeBackAsTheyWere(t *testing.T) {
	tx, rx := goodTx(), goodRx()
	if got, err := DecodeTxContext(tx.Encode()); err != nil || got != tx {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := DecodeRxContext(rx.Encode()); err != nil || got != rx {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestEveryBitIsAFieldOrReserved flips each bit of a good context: either the context differs or the error names the bit.
func TestEveryBitIsAFieldOrReserved(t *testing.T) {
	tx, rx := goodTx(), goodRx()
	reserved := 0
	for n := range TxContextLen * 8 {
		b := tx.Encode()
		b[n/8] ^= 1 << (n % 8)
		got, err := DecodeTxContext(b)
		if names := err != nil && strings.Contains(err.Error(), "reserved bits ["); names == (got != tx) {
			t.Errorf("transmit bit %d: %v", n, err)
		} else if names {
			reserved++
		}
	}
	for n := range RxContextLen * 8 {
		b := rx.Encode()
		b[n/8] ^= 1 << (n % 8)
		got, err := DecodeRxContext(b)
		if names := err != nil && strings.Contains(err.Error(), "reserved bits ["); names == (got != rx) {
			t.Errorf("receive bit %d: %v", n, err)
		} else if names {
			reserved++
		}
	}
	const txBits = 13 + 1 + 57 + 4 + 8 + 13 + 1 + 13 + 3 + 64 + 32 + 10 + 1
	const rxBits = 13 + 8 + 57 + 13 + 7 + 5 + 2 + 4 + 4 + 2 + 1 + 14 + 4 + 3 + 1
	if want := (TxContextLen+RxContextLen)*8 - txBits - rxBits; reserved != want {
		t.Errorf("%d reserved bits, want %d", reserved, want)
	}
}

func TestImpossibleContextsAreRefused(t *testing.T) {
	for name, edit := range map[string]func(*TxContext){
		"BASE is zero":   func(c *TxContext) { c.Base = 0 },
		"QLEN 0 ":        func(c *TxContext) { c.Len = 0 },
		"QLEN 40 ":       func(c *TxContext) { c.Len = 40 },
		"QLEN 8191 ":     func(c *TxContext) { c.Len = 8191 },
		"HEAD 64 is not": func(c *TxContext) { c.Head = 64 },
		"not a multiple": func(c *TxContext) { c.HeadWBAddr += 2 },
		"is zero":        func(c *TxContext) { c.HeadWBAddr = 0 },
	} {
		c := goodTx()
		edit(&c)
		if _, err := DecodeTxContext(c.Encode()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("transmit, %s: %v", name, err)
		}
	}
	for name, edit := range map[string]func(*RxContext){
		"BASE is zero":    func(c *RxContext) { c.Base = 0 },
		"DBUFF 896 bytes": func(c *RxContext) { c.Buffer = 896 },
		"DBUFF 0 bytes":   func(c *RxContext) { c.Buffer = 0 },
		"RXMAX 63 is":     func(c *RxContext) { c.RxMax = 63 },
		"RXMAX 9729 is":   func(c *RxContext) { c.RxMax = 9729 },
		"PREFENA":         func(c *RxContext) { c.Prefetch = false },
		"DTYPE 3":         func(c *RxContext) { c.DescType = 3 },
		"not modelled":    func(c *RxContext) { c.DescType = 1 },
		"QLEN 33 ":        func(c *RxContext) { c.Len = 33 },
	} {
		c := goodRx()
		edit(&c)
		if _, err := DecodeRxContext(c.Encode()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("receive, %s: %v", name, err)
		}
	}
	c := goodRx()
	c.DescType = 2
	if _, err := DecodeRxContext(c.Encode()); !errors.Is(err, ErrHeaderSplit) {
		t.Errorf("header split: %v", err)
	}
	if _, err := DecodeRxContext(make([]byte, RxContextLen-1)); err == nil {
		t.Error("a short context was taken")
	}
}

// TestDecodingIsTotal decodes noise: never a panic, and what has no error can be encoded to the same bits.
func TestDecodingIsTotal(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, TxContextLen)
	for range 2000 {
		for i := range b {
			b[i] = 0
			for n := range 8 {
				if r.IntN(12) == 0 {
					b[i] |= 1 << n
				}
			}
		}
		if c, err := DecodeTxContext(b); err == nil && string(c.Encode()) != string(b) {
			t.Fatalf("%+v", c)
		}
		if c, err := DecodeRxContext(b[:RxContextLen]); err == nil && string(c.Encode()) != string(b[:RxContextLen]) {
			t.Fatalf("%+v", c)
		}
	}
}
