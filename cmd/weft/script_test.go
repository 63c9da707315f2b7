package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weft": main})
}

// TestScripts runs the command line as an operator does: testdata/script/*.txtar.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor": waitForFile,
			"expand":  expandFile,
			"norm":    normalise,
			"isjson":  checkJSON,
			"scrape":  scrape,
			"status":  wantStatus,
			"signal":  signalDaemons,
		},
		Setup: func(env *testscript.Env) error {
			// What the developer has set must not reach the commands.
			for _, v := range os.Environ() {
				if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, envPrefix+"_") {
					env.Setenv(name, "")
				}
			}
			return nil
		},
	})
}

// waitForFile waits until a file exists, or with "!" until it is gone: waitfor FILE.
func waitForFile(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Lstat(path); (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited 20 s for %s (gone: %v)", path, neg)
		}
	}
}

// expandFile replaces $WORK in files: expand FILE...
func expandFile(ts *testscript.TestScript, _ bool, args []string) {
	for _, a := range args {
		text := strings.ReplaceAll(ts.ReadFile(a), "$WORK", ts.Getenv("WORK"))
		ts.Check(os.WriteFile(ts.MkAbs(a), []byte(text), 0o644))
	}
}

// volatile is what differs from run to run in what operators read, and what stands in its place in the golden files.
var volatile = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`duration=\d+\.\d+s`), "duration=Ns"},
	{regexp.MustCompile(`idle_age=\d+`), "idle_age=N"},
	{regexp.MustCompile(`CPU \d+`), "CPU N"},
	{regexp.MustCompile(`load +\d+\.\d%`), "load N%"},
	{regexp.MustCompile(`cycles: .*`), "cycles: ..."},
	{regexp.MustCompile(`\(\d+s ago\)`), "(Ns ago)"},
	{regexp.MustCompile(`NUMA node \d+`), "NUMA node N"},
	{regexp.MustCompile(`(?m)^(  +0  no +)\d+`), "${1}N"},
}

// normalise writes the last command's output to the file out, without what differs from run to run, for cmp:
// norm stdout|stderr.
func normalise(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.ReplaceAll(ts.ReadFile(args[0]), ts.Getenv("WORK"), "$WORK")
	for _, v := range volatile {
		text = v.re.ReplaceAllString(text, v.with)
	}
	ts.Check(os.WriteFile(ts.MkAbs("out"), []byte(text), 0o644))
}

// checkJSON makes sure that the last command's output is JSON: isjson stdout|stderr.
func checkJSON(ts *testscript.TestScript, _ bool, args []string) {
	if text := ts.ReadFile(args[0]); !json.Valid([]byte(text)) {
		ts.Fatalf("not JSON: %s", text)
	}
}

// addressInLog finds the metrics address in the daemon's log.
var addressInLog = regexp.MustCompile(`metrics=(127\.0\.0\.1:\d+)`)

// scrape gets a path from the metrics address that a log file names: scrape LOG PATH OUT.
func scrape(ts *testscript.TestScript, _ bool, args []string) {
	var m []string
	for deadline := time.Now().Add(20 * time.Second); m == nil; time.Sleep(5 * time.Millisecond) {
		m = addressInLog.FindStringSubmatch(ts.ReadFile(args[0]))
		if time.Now().After(deadline) {
			ts.Fatalf("no metrics address in %s", args[0])
		}
	}
	resp, err := http.Get("http://" + m[1] + args[1])
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("%s: status %s: %s", args[1], resp.Status, body)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), body, 0o644))
}

// wantStatus runs a command that must end with an exit code: status N weft ...
func wantStatus(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// signalDaemons sends a signal to what runs in the background: signal TERM|HUP.
func signalDaemons(ts *testscript.TestScript, _ bool, args []string) {
	sig := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[args[0]]
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(sig))
	}
}
