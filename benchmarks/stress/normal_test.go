package main

import "testing"

func TestStationsTalkInPairs(t *testing.T) {
	seen := make(map[uint32]int)
	for from := range 2 {
		say := talk(from, stations)
		back := talk(1-from, stations)
		for i := range uint64(2 * stations) {
			dst, src := say(i)
			if d, s := back(i); d != src || s != dst {
				t.Fatalf("%x sends to %x, which is answered by %x to %x", src, dst, s, d)
			}
			seen[src]++
		}
	}
	if len(seen) != 2*stations {
		t.Errorf("%d stations, want %d", len(seen), 2*stations)
	}
	f := newFrame()
	setStations(f, 0x01020304, 0xa0b0c0d0)
	if string(f[:12]) != "\x02\x00\x01\x02\x03\x04\x02\x00\xa0\xb0\xc0\xd0" || f[0]&1 != 0 {
		t.Errorf("addresses % x", f[:12])
	}
}
