package ofctl

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
)

// formattedRules are rules of every field and action.
func formattedRules(t testing.TB) []*flow.Rule {
	t.Helper()
	var rules []*flow.Rule
	for _, s := range slices.Concat(agreed, agreedMasks, agreedParts, actionRules) {
		r, err := ParseRule(s, nil)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		rules = append(rules, r)
	}
	return rules
}

// TestRulesAreAppendedToWhatIsThere: Append... leaves what the memory has, and takes none beside it.
func TestRulesAreAppendedToWhatIsThere(t *testing.T) {
	const head = "head"
	buf := append(make([]byte, 0, 16<<10), head...)
	for _, r := range formattedRules(t) {
		s := flow.RuleStats{Rule: *r, Packets: 5, Bytes: 1 << 40, Duration: 1234567 * time.Millisecond, HardAge: time.Minute}
		if got, want := string(AppendRule(buf, r, flowtest.SomePorts)), head+FormatRule(r, flowtest.SomePorts); got != want {
			t.Errorf("appended %q, want %q", got, want)
		}
		if got, want := string(AppendStats(buf, &s, nil)), head+FormatStats(&s, nil); got != want {
			t.Errorf("appended %q, want %q", got, want)
		}
		if n := testing.AllocsPerRun(10, func() {
			AppendRule(buf, r, flowtest.SomePorts)
			AppendStats(buf, &s, nil)
		}); n != 0 {
			t.Errorf("%s: %v allocations", FormatRule(r, nil), n)
		}
	}
}

// TestPartsAreWrittenAsPackageFmtWritesThem compares what is written by hand with what the library writes.
func TestPartsAreWrittenAsPackageFmtWritesThem(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	same := func(got []byte, want string) {
		t.Helper()
		if string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for i := range 10_000 {
		v, lo := r.Uint64()>>(i%65), r.Uint64()>>r.IntN(65)
		same(appendHex(nil, v, 1), fmt.Sprintf("%x", v))
		same(appendHex(nil, v, 5), fmt.Sprintf("%05x", v))
		if v != 0 {
			same(append0x(nil, v), fmt.Sprintf("%#x", v))
		}
		same(appendMAC(nil, v), fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x",
			byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v)))
		same(appendIPv4(nil, v), netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}).String())
		d := time.Duration(v >> 1)
		same(appendSeconds(nil, d), fmt.Sprintf("%d.%03ds", d/time.Second, d/time.Millisecond%1000))
		var a [16]byte
		for j := range 8 {
			a[j], a[8+j] = byte(v>>(56-8*j)), byte(lo>>(56-8*j))
		}
		same(appendIPv6(nil, v, lo), netip.AddrFrom16(a).String())
	}
	same(append0x(nil, 0), "0") // as C has it
}

func BenchmarkAppendStats(b *testing.B) {
	var all []flow.RuleStats
	for _, r := range formattedRules(b) {
		all = append(all, flow.RuleStats{Rule: *r, Packets: 5, Bytes: 1 << 40, Duration: time.Hour})
	}
	var buf []byte
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendStats(buf[:0], &all[i%len(all)], flowtest.SomePorts)
		i++
	}
}
