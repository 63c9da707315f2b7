package packet

// DropReason says why a packet was not forwarded. Each queue and each PMD thread counts drops by reason.
type DropReason uint8

// The reasons. Append only: their order is part of the binary counters, their names of the metrics.
const (
	// On transmission.
	DropNoDescriptor DropReason = iota
	DropQueueDisabled
	DropFrameTooLong
	DropOverMTU
	DropPortDown
	DropBackendError

	// On reception.
	DropRunt
	DropTooManySegments
	DropBadDescriptor

	// In the pipeline.
	DropNoMatch
	DropByRule
	DropNoOutput
	DropHairpin
	DropHeadroom
	DropResubmitLimit
	DropNoSuchPort
	DropReservedMulticast
	DropHeaderTooLong
	DropMemoryFault
	DropMeter
	DropNoClone
	DropVLAN
	DropBadTag
	DropFragment
	DropTooManyLabels
	DropQueueBusy

	// NumDropReasons is how many there are.
	NumDropReasons = iota
)

var dropTexts = [NumDropReasons]struct{ name, sentence string }{
	DropNoDescriptor:      {"no_descriptor", "the receiver had no free buffer: the guest or host reads too slowly"},
	DropQueueDisabled:     {"queue_disabled", "the receiver has not enabled this queue"},
	DropFrameTooLong:      {"frame_too_long", "the frame is longer than the buffers that the receiver offered"},
	DropOverMTU:           {"over_mtu", "the frame is longer than the outgoing port's MTU"},
	DropPortDown:          {"port_down", "the outgoing port is not connected"},
	DropBackendError:      {"backend_error", "the kernel or device refused the frame"},
	DropRunt:              {"runt", "the frame is shorter than an Ethernet header"},
	DropTooManySegments:   {"too_many_segments", "the frame is spread over more buffers than a batch can hold"},
	DropBadDescriptor:     {"bad_descriptor", "the sender's ring or buffer was malformed"},
	DropNoMatch:           {"no_match", "no rule matched in a table without a table-miss rule"},
	DropByRule:            {"rule", "a rule said drop"},
	DropNoOutput:          {"no_output", "the matched rules named no output"},
	DropHairpin:           {"hairpin", "the only output was the port of arrival"},
	DropHeadroom:          {"headroom", "a header was pushed and there was no room before the frame"},
	DropResubmitLimit:     {"resubmit_limit", "the rules resubmitted the packet too often"},
	DropNoSuchPort:        {"no_such_port", "a rule names a port that does not exist now"},
	DropMemoryFault:       {"memory_fault", "a receiver cut off its memory while packets were copied into it"},
	DropMeter:             {"meter", "a meter's rate was exceeded"},
	DropNoClone:           {"no_clone", "the rules make more different copies of one packet than can be held at once"},
	DropVLAN:              {"vlan", "the port of arrival does not carry the packet's VLAN"},
	DropFragment:          {"fragment", "the bridge drops IP fragments (fragments: drop)"},
	DropBadTag:            {"bad_tag", "the frame ends within its VLAN tag"},
	DropTooManyLabels:     {"too_many_labels", "a label was pushed or popped on a stack of more than rules can look at"},
	DropHeaderTooLong:     {"header_too_long", "rules look at the transport header, and extension headers push it out of reach"},
	DropQueueBusy:         {"queue_busy", "another PMD thread had the outgoing queue for a tenth of a second: was it stopped?"},
	DropReservedMulticast: {"reserved_multicast", "NORMAL does not forward 01:80:c2:00:00:0x (spanning tree, LACP, LLDP)"},
}

// String is the reason's name as metrics and JSON show it.
func (r DropReason) String() string {
	if int(r) >= NumDropReasons {
		return "unknown"
	}
	return dropTexts[r].name
}

// Sentence explains the reason to an operator.
func (r DropReason) Sentence() string {
	if int(r) >= NumDropReasons {
		return "unknown reason"
	}
	return dropTexts[r].sentence
}
