// Package i40esim is a register-level model of the Intel XL710 family (I40E): what the unmodified Linux and DPDK
// drivers see of a card, strict about what the datasheet forbids. It stands in for silicon that is not at hand.
//
//	qemu guest's driver, or Weft's own                              the port's wire
//	        |  vfio-user                                                  ^
//	+-------v-------- Device (PF), VF (one of its functions) -------------|----------+
//	| config space   BAR 0: table -> behaviour     MSI-X, ITR, causes     |          |
//	|   FLR             |      |        |               ^                |          |
//	|                   v      v        v               | cause          |          |
//	|   reset <-- GLGEN, PFGEN  HMC   queues ---- lan.TxQueue --> switch -+          |
//	|             NVM    adminq.Firmware --------- (VSIs, filters) -- RSS            |
//	|                                       `---- lan.RxQueue <------------'         |
//	+------- trace, violations with the last steps, faults --------------------------+
//
// The register table is data (registers.tsv, registers-dump.tsv, registers-vf.tsv): name, offset, dimensions, access,
// reset, mask and description. Registers with an effect have it in the behaviour tables; the rest keep what is written.
// An access outside the table is a violation and reads 0xdeadbeef, as on real cards.
//
// A Device is one physical function of a card of its own. VFs of it are functions with a register window of their own
// on the same card, served as devices of their own. What the model does not do is listed in docs/i40e-model.md.
//
// # Sources
//
// Offsets, fields, commands and layouts are those of the headers of Linux 6.12 and DPDK 24.11, values those of dumps of
// real cards. The datasheet itself (Intel 332464) was not at hand: where a comment here or in the packages below names it,
// that is where the drivers' authors point for the rule and where it is to be checked, not a passage that somebody has
// checked. "Model:" marks what no public text gives. docs/i40e-model.md says which driver verifies what.
//
// # Concurrency
//
// One lock for each card. Everything enters by a method of Device or VF, by a timer or by a frame from the wire, takes
// the lock, and leaves frames for the wire in an outbox that is emptied in order after the lock is released; so two
// cards joined by a wire cannot wait for each other.
package i40esim
