// Package ddp builds and takes apart packages of dynamic device personalization (DDP): the files by which an XL710 is
// taught further protocols. It is for tests of drivers against the model: a vendor's profiles must not be copied, and what
// their registers mean is not documented. The file's structure is public, through the drivers that read it.
//
//	package header   version, number of segments, their offsets (multiples of 16)
//	+-- metadata     version, track id, name
//	+-- notes        text
//	+-- I40E         a profile: name, devices, NVM versions, section table
//	      +-- section   16-byte header, then its data
//	          registers (MMIO), command (AQ), protocols, packet types, names, notes
//
// A driver sends each register section to the firmware, gets back what the registers held before, and keeps that, in the
// place of the section, to undo it later. Marshal and Parse are each other's inverse.
package ddp
