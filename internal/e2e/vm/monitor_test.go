package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// fakeMonitor is qemu's monitor as far as a conversation of one command goes; answer makes what it says to that.
func fakeMonitor(t *testing.T, answer func(command string) string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talk(conn, answer)
			_ = conn.Close()
		}
	}()
	return path
}

func talk(conn net.Conn, answer func(string) string) {
	fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": ["oob"]}}`)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var r struct {
			Execute   string
			Arguments map[string]string
		}
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			return
		}
		reply := `{"error": {"class": "CommandNotFound", "desc": "unknown command"}}`
		switch r.Execute {
		case "qmp_capabilities":
			reply = `{"return": {}}` + "\n" + `{"timestamp": {}, "event": "RESET", "data": {"guest": true}}`
		case "human-monitor-command":
			reply = answer(r.Arguments["command-line"])
		}
		fmt.Fprintln(conn, reply)
	}
}

func TestTheMonitorSaysWhatTheProcessorsAreAt(t *testing.T) {
	path := fakeMonitor(t, func(command string) string {
		text := map[string]string{
			"info status": "VM status: running\r\n",
			"info registers -a": "\r\nCPU#0\r\nRAX=0000000000000000 RBX=0000000000000000\r\n" +
				"RIP=ffffffffb6217a0b RFL=00000246 [---Z-P-] HLT=1\r\nCPU#1\r\nEIP=0000fff0 EFL=00000002 HLT=0\r\n",
		}[command]
		b, _ := json.Marshal(map[string]string{"return": text})
		return string(b)
	})
	const want = "VM status: running\nCPU#0\nRIP=ffffffffb6217a0b RFL=00000246 [---Z-P-] HLT=1\n" +
		"CPU#1\nEIP=0000fff0 EFL=00000002 HLT=0\n"
	if got := machine(path); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAMonitorThatDoesNotSayIsNamed(t *testing.T) {
	refusing := fakeMonitor(t, func(string) string { return `{"error": {"class": "GenericError", "desc": "not now"}}` })
	if got := machine(refusing); !strings.Contains(got, "info status") || !strings.Contains(got, "not now") {
		t.Errorf("a monitor that refuses: %q", got)
	}
	if got := machine(filepath.Join(t.TempDir(), "none")); !strings.Contains(got, "qemu's monitor") {
		t.Errorf("no monitor: %q", got)
	}
}
