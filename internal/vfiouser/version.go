package vfiouser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// The version of the protocol that we speak.
const (
	ourMajor = 0
	ourMinor = 0
)

// version is the body of VERSION and of its reply.
type version struct {
	major, minor uint16
	caps         capabilities
}

// capabilities are what the two sides tell each other. A nil member was not sent.
type capabilities struct {
	MaxFDs     *uint64     `json:"max_msg_fds,omitempty"`
	MaxXfer    *uint64     `json:"max_data_xfer_size,omitempty"`
	MaxDMAMaps *uint64     `json:"max_dma_maps,omitempty"`
	PageSizes  *uint64     `json:"pgsizes,omitempty"`
	WriteMany  *bool       `json:"write_multiple,omitempty"`
	TwinSocket *twinSocket `json:"twin_socket,omitempty"`
}

// twinSocket is the capability of a second socket for the server's commands.
type twinSocket struct {
	Supported bool    `json:"supported"`
	FDIndex   *uint64 `json:"fd_index,omitempty"`
}

// versionData is the JSON text of VERSION.
type versionData struct {
	Capabilities *capabilities `json:"capabilities,omitempty"`
}

// parseVersion reads the body of a VERSION or of its reply. Capabilities that we do not know are skipped.
func parseVersion(b []byte) (version, error) {
	if len(b) < versionSize {
		return version{}, refuse(unix.EINVAL, "VERSION: %d bytes", len(b))
	}
	v := version{major: le16(b), minor: le16(b[2:])}
	text := b[versionSize:]
	if len(text) == 0 {
		return v, nil
	}
	text, found := bytes.CutSuffix(text, []byte{0})
	if !found {
		return v, refuse(unix.EINVAL, "VERSION: the text does not end in NUL")
	}
	var data versionData
	if err := json.Unmarshal(text, &data); err != nil {
		return v, refuse(unix.EINVAL, "VERSION: %v", err)
	}
	if data.Capabilities != nil {
		v.caps = *data.Capabilities
	}
	if n := v.caps.MaxXfer; n != nil && *n == 0 {
		return v, refuse(unix.EINVAL, "VERSION: max_data_xfer_size is 0")
	}
	return v, nil
}

// bytes is the body of a message. Without capabilities it has no text when bare is set, and an empty object otherwise.
func (v version) bytes(bare bool) ([]byte, error) {
	b := []byte{byte(v.major), byte(v.major >> 8), byte(v.minor), byte(v.minor >> 8)}
	var data versionData
	if v.caps != (capabilities{}) {
		data.Capabilities = &v.caps
	} else if bare {
		return b, nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("vfiouser: VERSION: %w", err)
	}
	return append(append(b, text...), 0), nil
}

// xfer is how much data the sender of these capabilities takes in one message.
func (c *capabilities) xfer() uint32 {
	if c.MaxXfer == nil {
		return defaultXfer
	}
	return uint32(min(*c.MaxXfer, maxXfer))
}

// fds is how many descriptors the sender of these capabilities takes in one message.
func (c *capabilities) fds() int {
	if c.MaxFDs == nil {
		return 1 // specification, "VFIO_USER_VERSION"
	}
	return int(min(*c.MaxFDs, math.MaxInt16))
}

// reply chooses among the capabilities that a client proposed. Numbers are never greater than the client's, so that the
// text of the reply is not longer than the client's: qemu receives it into the buffer of its request.
func (c *capabilities) reply(maxXferSize uint32, twin bool) capabilities {
	atMost := func(theirs *uint64, ours uint64) *uint64 {
		if theirs == nil {
			return nil
		}
		n := min(*theirs, ours)
		return &n
	}
	r := capabilities{
		MaxFDs:     atMost(c.MaxFDs, ourMaxFDs),
		MaxXfer:    atMost(c.MaxXfer, uint64(maxXferSize)),
		MaxDMAMaps: atMost(c.MaxDMAMaps, ourMaxDMAMaps),
	}
	if c.PageSizes != nil {
		r.PageSizes = atMost(c.PageSizes, ourPageSizes)
		if *c.PageSizes&ourPageSizes == 0 {
			r.PageSizes = nil
		}
	}
	if c.WriteMany != nil && *c.WriteMany {
		yes := true
		r.WriteMany = &yes
	}
	if twin {
		first := uint64(0)
		r.TwinSocket = &twinSocket{Supported: true, FDIndex: &first}
	}
	return r
}

// replyBody is the body of the reply v, not longer than the request was unless a second socket comes with it.
func (v version) replyBody(request int) ([]byte, error) {
	b, err := v.bytes(true)
	if err != nil || len(b) <= request || v.caps.TwinSocket != nil {
		return b, err
	}
	// A client that writes its numbers shorter than JSON usually is: the defaults have to do.
	v.caps = capabilities{}
	return v.bytes(true)
}
