//go:build i40e

package i40e

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

// TestTheGatesOwnArithmetic checks what the other gates judge by.
func TestTheGatesOwnArithmetic(t *testing.T) {
	// The published verification vector: 66.9.149.187:2794 to 161.142.100.80:1766.
	key, err := hex.DecodeString("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
	if err != nil {
		t.Fatal(err)
	}
	f := flow{
		src: netip.MustParseAddr("66.9.149.187"), dst: netip.MustParseAddr("161.142.100.80"), srcPort: 2794, dstPort: 1766,
		protocol: protoTCP, payload: []byte("odd"), vlan: 7,
	}
	if got := toeplitz(key, f.rssInput()); got != 0x51ccc178 {
		t.Errorf("hash %#08x, want 0x51ccc178", got)
	}
	for _, f.protocol = range []byte{protoTCP, protoUDP} {
		b := f.frame()
		back, err := parseFrame(b)
		if err != nil || back.vlan != 7 || string(back.payload) != "odd" || back.srcPort != 2794 {
			t.Errorf("%+v, %v", back, err)
		}
		for _, at := range []int{18 + 13, 18 + 20 + 1, 18 + 20 + 8} { // an address, a port, a byte of the payload or header
			b[at] ^= 1
			if _, err := parseFrame(b); err == nil || !strings.Contains(err.Error(), "checksum") {
				t.Errorf("byte %d changed, and the error is %v", at, err)
			}
			b[at] ^= 1
		}
	}
}
