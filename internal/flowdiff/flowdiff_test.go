package flowdiff

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the environment may say: FLOWDIFF_TIME=5m is how long to compare (the short run takes about 20 s),
// FLOWDIFF_SEED=N makes it begin with that seed alone, FLOWDIFF_MAX=N is how many differences end it, and
// FLOWDIFF_WITHOUT=normal,flood leaves rows out of the tables.
const (
	envTime    = "FLOWDIFF_TIME"
	envSeed    = "FLOWDIFF_SEED"
	envMax     = "FLOWDIFF_MAX"
	envWithout = "FLOWDIFF_WITHOUT"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open makes a harness, or skips with the reason when Open vSwitch is missing and cannot be installed.
func open(t testing.TB) *Harness {
	t.Helper()
	if _, err := exec.LookPath(ovsNeed.Program); err != nil && os.Geteuid() != 0 {
		t.Skipf("SKIP: Weft is not compared with Open vSwitch: %s is not installed, and only root can install it",
			ovsNeed.Package)
	}
	h, err := New(t.Context(), quiet(), strings.Split(os.Getenv(envWithout), ",")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// fixedSeeds are those of the short run, which is to say the same of the same code. Who gives time gets a new one, too.
var fixedSeeds = []uint64{1, 2}

func seeds(t testing.TB) []uint64 {
	t.Helper()
	if s := os.Getenv(envSeed); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", envSeed, err)
		}
		return []uint64{n}
	}
	if os.Getenv(envTime) != "" {
		return []uint64{fixedSeeds[0], uint64(time.Now().UnixNano())}
	}
	return fixedSeeds
}

// limits shares the time that the environment gives, or else that of a short run.
func limits(t testing.TB, short time.Duration, share int) Limits {
	t.Helper()
	l := Limits{Time: short}
	if s := os.Getenv(envTime); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("%s: %v", envTime, err)
		}
		l.Time = d * time.Duration(share) / 100
	}
	if s := os.Getenv(envMax); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", envMax, err)
		}
		l.Differences = n
	}
	return l
}

func TestWeftDoesWhatOpenVSwitchDoes(t *testing.T) {
	h := open(t)
	reportLeftOut(t, h)
	for _, seed := range seeds(t) {
		run(t, h, seed, "Open vSwitch against Weft", limits(t, 5*time.Second, 40), h.Run)
	}
	t.Logf("a select group chose otherwise for %d packets, which is right as well", h.Chosen)
	if len(h.Crashes) > 0 {
		t.Logf("Open vSwitch died at %s", strings.Join(h.Crashes, ", "))
	}
	if known := h.Known(); known != "" {
		t.Logf("known differences met:\n%s", known)
	}
}

func TestCachesChangeNothingWhileRulesChange(t *testing.T) {
	h := open(t)
	for _, seed := range seeds(t) {
		run(t, h, seed, "Weft without caches against Weft", limits(t, 1500*time.Millisecond, 10), h.RunCached)
	}
}

// run does one comparison and reports it.
func run(t *testing.T, h *Harness, seed uint64, what string, l Limits,
	compare func(context.Context, uint64, Limits) ([]*Difference, error),
) {
	t.Helper()
	cases, packets, forwarded := h.Cases, h.Packets, h.Forwarded
	found, err := compare(t.Context(), seed, l)
	for _, d := range found {
		t.Error(d)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, from seed %d: %d cases, %d packets (%d forwarded), %d differences; %d cases and %d rules refused by both",
		what, seed, h.Cases-cases, h.Packets-packets, h.Forwarded-forwarded, len(found), h.Broken, h.Refused)
}

// TestKeptCases replays the cases under testdata, all of which differed once.
func TestKeptCases(t *testing.T) {
	h := open(t)
	files, err := filepath.Glob("testdata/*.case")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d kept cases, error %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".case"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			c, err := ParseCase(string(text))
			if err != nil {
				t.Fatal(err)
			}
			d, err := h.Replay(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if d != nil {
				t.Error(d)
			}
		})
	}
}

// reportLeftOut says which rows of the tables Weft does not know yet.
func reportLeftOut(t testing.TB, h *Harness) {
	t.Helper()
	if n := len(h.LeftOut()); n > 0 {
		t.Logf("%d rows of the tables are left out, since Weft refuses every sample of them (-v lists them)", n)
	}
	for _, l := range h.LeftOut() {
		if testing.Verbose() {
			t.Log(l)
		}
	}
}

func TestBothAcceptTheSameRules(t *testing.T) {
	h := open(t)
	for _, seed := range seeds(t) {
		run(t, h, seed, "what is accepted", limits(t, time.Second, 10), h.RunSyntax)
	}
	t.Logf("known differences met:\n%s", h.Known())
}
