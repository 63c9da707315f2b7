// Package flowtest has frames of every kind and ports with awkward names, for the tests of the flow table's packages.
//
//	NewFrame(tags...) --IPv4, IPv6, ARP, ...--> Frame --Mutate--> a damaged one
//	SampleFrames() -----------------------------^
package flowtest
