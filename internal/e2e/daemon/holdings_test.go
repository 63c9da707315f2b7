package daemon

import (
	"slices"
	"testing"
)

func TestGrowthNamesWhatThereIsMoreOf(t *testing.T) {
	before := Holdings{FDs: map[string]int{"socket": 3, "/dev/net/tun": 1}, Mappings: map[string]int{"/memfd:a": 2}, Threads: 8}
	now := Holdings{FDs: map[string]int{"socket": 4}, Mappings: map[string]int{"/memfd:a": 2, "/memfd:b": 1}, Threads: 10}
	want := []string{"descriptors socket: 4, was 3", "mappings /memfd:b: 1, was 0", "threads: 10, was 8"}
	if got := now.Growth(before, 1); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := before.Growth(before, 0); len(got) != 0 {
		t.Errorf("nothing grew, but %q", got)
	}
	if got := now.Growth(before, 2); len(got) != 2 {
		t.Errorf("two threads more are allowed, but %q", got)
	}
}
