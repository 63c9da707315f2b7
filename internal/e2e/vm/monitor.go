package vm

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"
)

// monitorLimit is how long qemu's monitor may take. It is part of the main loop, which also talks to the switch: a qemu
// that waits for the switch does not answer here, and that is worth knowing.
const monitorLimit = 3 * time.Second

// machine says for a failure's message what the guest's processors are at, as qemu's monitor sees it. An instruction
// pointer from ffffffff80000000 is in the kernel, one below 100000 in the firmware.
func machine(monitor string) string {
	var out strings.Builder
	for _, command := range []string{"info status", "info registers -a"} {
		text, err := askMonitor(monitor, command)
		if err != nil {
			return fmt.Sprintf("%sqemu's monitor, asked for %q: %v\n", out.String(), command, err)
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "VM status") || strings.HasPrefix(line, "CPU#") || strings.Contains(line, "IP=") {
				out.WriteString(strings.TrimSpace(line) + "\n")
			}
		}
	}
	return out.String()
}

// askMonitor has qemu carry out one command as a person types it (QEMU, "QEMU QMP Reference Manual",
// human-monitor-command).
func askMonitor(path, command string) (string, error) {
	conn, err := net.DialTimeout("unix", path, monitorLimit)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(monitorLimit)); err != nil {
		return "", err
	}
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	requests := []any{
		map[string]any{"execute": "qmp_capabilities"},
		map[string]any{"execute": "human-monitor-command", "arguments": map[string]any{"command-line": command}},
	}
	answers := 0
	for {
		var m struct {
			Greeting json.RawMessage `json:"QMP"`
			Return   json.RawMessage `json:"return"`
			Error    *struct{ Desc string }
		}
		if err := in.Decode(&m); err != nil {
			return "", err
		}
		switch {
		case m.Error != nil:
			return "", fmt.Errorf("qemu refuses: %s", m.Error.Desc)
		case m.Return != nil:
			answers++
		case m.Greeting == nil:
			continue // an event
		}
		if answers == len(requests) {
			var text string
			err := json.Unmarshal(m.Return, &text)
			return text, err
		}
		if err := out.Encode(requests[answers]); err != nil {
			return "", err
		}
	}
}
