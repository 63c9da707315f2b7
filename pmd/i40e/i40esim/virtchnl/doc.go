// Package virtchnl is the PF driver's part of the conversation between a virtual function (VF) and its PF, for a modelled
// card on which no PF driver runs: it answers a VF driver's messages as Linux's i40e does on an X710.
//
//	VF driver                    Firmware            Responder              device
//	ATQ: 0801, cookie = op  -->  mailbox   -->  check, state, answer --> Hooks: queue contexts,
//	ARQ: 0802, cookie = op  <--  SendToVF  <--  (or event)               interrupts, hash tables,
//	                                 ^               |                   statistics, reset
//	                                 +-- Execute ----+
//	                            commands 0210, 0211, 0250 ...
//
// What concerns the embedded switch (VSI, addresses, VLANs, promiscuity, tag stripping) goes through the same admin queue
// commands that a PF driver would send; what a PF driver does by registers and by memory of its own, the device does in
// Hooks. Messages and their layout are those of avf/virtchnl.h (Linux 6.12). Lists come in two lengths, because structures
// once ended in an array of one: with or without room for one more element.
//
// A message that no VF driver may send, malformed or not negotiated, is answered with an error status and reported as a
// violation.
//
// # Concurrency
//
// None: the device's lock is held around every call, as for package adminq.
package virtchnl
