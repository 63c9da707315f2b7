// Package adminq is the firmware of a modelled XL710: the admin queues that drivers talk to it through, the commands,
// and the state that they change: switch elements and filters, link, scheduler, NVM, profiles, mailboxes.
//
//	driver's memory          Pair                      Firmware
//	[ASQ ring, buffers] --> fetch, check, bounds --> command table --> switch, link, NVM, DDP ...
//	                    <-- write back, HEAD     <--  reply, Code        |            |
//	[ARQ ring, buffers] <-- Post <---------------- events, mailbox <----+      Receive, Transmit
//	                         |                                                 (steering: which VSIs)
//	                         +--> raise: interrupt cause ADMINQ
//
// A Firmware is one card seen from one physical function (PF) and its virtual functions (VFs). The device around it owns
// the registers: it passes accesses to the queue registers to a Pair, and gives the firmware Registers (what commands
// 0206, 0207 and FF03 reach), shadow RAM and Hooks. What a frame's way through the embedded switch is, Receive and
// Transmit answer from the state alone.
//
// What a driver gets wrong is answered with the code that firmware gives (Code) and reported as a violation: an unknown
// opcode, flags that contradict the command, a buffer that cannot be reached, a section of VSI properties that cannot be.
// Commands that the XL710 does not have, but which drivers of the family know (those of the X722), are answered with
// CodeNoSys and are violations, too. A command whose arguments name what does not exist, or for which there is no room,
// gets its code and no violation: a driver may try.
//
// Opcodes, structures and codes are those of the XL710 datasheet's chapter "Admin Queue" as the headers of Linux 6.12 and
// DPDK 24.11 give them. What firmware decides for itself (which code for which mistake, how many filters there are) is
// nowhere specified; each such choice is marked "Model:".
//
// # Concurrency
//
// Nothing here locks. The device holds one lock per card around every call, and hooks are called with it held. A hook
// must not call back into the Pair that is executing a command; posting events from one is allowed.
package adminq
