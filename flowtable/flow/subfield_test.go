package flow_test

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"weft/flowtable/flow"
)

func genValue(t *rapid.T, name string) flow.Value {
	return flow.Value{Hi: rapid.Uint64().Draw(t, name+" high"), Lo: rapid.Uint64().Draw(t, name+" low")}
}

func bigOf(v flow.Value) *big.Int {
	b := new(big.Int).SetUint64(v.Hi)
	return b.Lsh(b, 64).Or(b, new(big.Int).SetUint64(v.Lo))
}

func TestValuesShiftAsWideIntegersDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, n := genValue(t, "value"), rapid.IntRange(0, 128).Draw(t, "bits")
		all := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1))
		left := new(big.Int).Lsh(bigOf(v), uint(n))
		if got := bigOf(v.Shl(n)); got.Cmp(left.And(left, all)) != 0 {
			t.Errorf("%x << %d is %x, want %x", bigOf(v), n, got, left)
		}
		if got, want := bigOf(v.Shr(n)), new(big.Int).Rsh(bigOf(v), uint(n)); got.Cmp(want) != 0 {
			t.Errorf("%x >> %d is %x, want %x", bigOf(v), n, got, want)
		}
		if got := flow.Ones(n).Len(); got != n {
			t.Errorf("%d ones have %d bits", n, got)
		}
		if v.Len() != bigOf(v).BitLen() {
			t.Errorf("%x has %d bits", bigOf(v), v.Len())
		}
	})
}

// What is put into a field is there, what the mask leaves out stays, and nothing but the field's bits changes.
func TestPutChangesWhatTheMaskSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := flow.FieldID(rapid.IntRange(0, int(flow.NumFields)-1).Draw(t, "field"))
		p := &flow.Places[id]
		if p.Bits == 0 {
			return // no place in keys: another name of a field
		}
		var before flow.Key
		for w := range before {
			before[w] = rapid.Uint64().Draw(t, "word")
		}
		value, mask := genValue(t, "value"), genValue(t, "mask")
		k := before
		p.Put(&k, value, mask)
		var own flow.Key
		flow.Whole(id).AddMask(&own)
		for w := range k {
			if (k[w]^before[w])&^own[w] != 0 {
				t.Fatalf("%s: word %d changed from %x to %x, the field has %x", p.Name, w, before[w], k[w], own[w])
			}
		}
		first, second := p.Spread(mask)
		held := flow.Value{Hi: first, Lo: second}
		if p.Bits < 128 {
			held = flow.Value{Lo: first >> p.Shift}
		}
		old, got := p.Get(&before), p.Get(&k)
		if want := old.And(held.Not()).Or(value.And(held)); got != want {
			t.Errorf("%s: %x with %x/%x put into it is %x, want %x", p.Name, old, value, mask, got, want)
		}
	})
}
