package agent

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestProgramsRunAndTheirStatusIsKept(t *testing.T) {
	c := pair(t, nil)
	r, err := c.Exec(t.Context(), ExecArgs{Args: []string{"sh", "-c", "cat; echo err >&2; exit 3"}, Stdin: "in\n", TimeoutMS: 5000})
	if err != nil || r.Status != 3 || r.Output != "in\nerr\n" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = c.Exec(t.Context(), ExecArgs{Args: []string{"sh", "-c", "echo begun; exec sleep 60"}, TimeoutMS: 200})
	if err == nil || !strings.Contains(err.Error(), "had not ended") || !strings.Contains(err.Error(), "begun") {
		t.Errorf("a program that does not end: %v", err)
	}
	if _, err := c.Exec(t.Context(), ExecArgs{}); err == nil {
		t.Error("no program at all was run")
	}
}

func TestAConversationWithAProgram(t *testing.T) {
	c := pair(t, nil)
	start := StartArgs{Name: "echo", Args: []string{"sh", "-c", `while read x; do echo "got $x"; printf '> '; done; exit 4`}}
	if err := c.Do(t.Context(), OpStart, start, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), OpStart, start, nil); err == nil {
		t.Error("two programs of one name")
	}
	for _, word := range []string{"one", "two"} {
		out, err := c.Talk(t.Context(), TalkArgs{Name: "echo", Line: word, Until: "> ", TimeoutMS: 5000})
		if err != nil || out != "got "+word+"\n> " {
			t.Errorf("%q, %v", out, err)
		}
	}
	_, err := c.Talk(t.Context(), TalkArgs{Name: "echo", Line: "three", Until: "never", TimeoutMS: 100})
	if err == nil || !strings.Contains(err.Error(), "got three") {
		t.Errorf("waiting for what is not said: %v", err)
	}
	r, err := c.End(t.Context(), EndArgs{Name: "echo", Line: "four", TimeoutMS: 5000})
	if err != nil || r.Status != 4 || !strings.Contains(r.Output, "got four") {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := c.End(t.Context(), EndArgs{Name: "echo"}); err == nil {
		t.Error("ended twice")
	}
}

func TestATalkEndsWithTheProgram(t *testing.T) {
	c := pair(t, nil)
	if err := c.Do(t.Context(), OpStart, StartArgs{Name: "x", Args: []string{"sh", "-c", "echo last words"}}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := c.Talk(t.Context(), TalkArgs{Name: "x", Until: "never", TimeoutMS: 10_000})
	if err == nil || !strings.Contains(err.Error(), "ended before") || !strings.Contains(err.Error(), "last words") {
		t.Errorf("%v", err)
	}
}

func TestFilesAreWrittenAndRead(t *testing.T) {
	c := pair(t, nil)
	path := filepath.Join(t.TempDir(), "new", "f")
	if err := c.WriteFile(t.Context(), path, []byte("a\x00b")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.ReadFile(t.Context(), path); err != nil || string(got) != "a\x00b" {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.Do(t.Context(), OpInsert, ModuleArgs{Name: path + ".ko"}, nil); err == nil {
		t.Error("a module that is not there was inserted")
	}
}
