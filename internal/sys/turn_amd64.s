#include "go_asm.h"
#include "textflag.h"

// The state of all turns (see turnTable). It is reached from signal handlers, by its address alone.
GLOBL turns<>(SB), NOPTR, $turnTable__size

// func theTurns() *turnTable
TEXT ·theTurns(SB), NOSPLIT, $0-8
	LEAQ turns<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func currentG() uintptr
TEXT ·currentG(SB), NOSPLIT, $0-8
	MOVQ (TLS), AX
	MOVQ AX, ret+0(FP)
	RET

// func handlers() (preempt, fault uintptr)
TEXT ·handlers(SB), NOSPLIT, $0-16
	LEAQ onPreempt<>(SB), AX
	MOVQ AX, preempt+0(FP)
	LEAQ onFault<>(SB), AX
	MOVQ AX, fault+8(FP)
	RET

// FIND looks for the slot of the goroutine g that was interrupted: CX points to it, or this goes on at none.
#define FIND(none) \
	MOVQ (TLS), AX                           \
	LEAQ turns<>+turnTable_slots(SB), CX     \
	MOVQ turns<>+turnTable_used(SB), R8      \
next:                                        \
	TESTQ R8, R8                             \
	JEQ  none                                \
	CMPQ turnSlot_g(CX), AX                      \
	JEQ  found                               \
	ADDQ $turnSlot__size, CX                     \
	DECQ R8                                  \
	JMP  next                                \
found:

// onPreempt counts a request of the scheduler, and goes on in the handler that Go's runtime installed. The kernel calls
// it with the C ABI: DI, SI and DX are that handler's arguments.
TEXT onPreempt<>(SB), NOSPLIT|NOFRAME, $0-0
	FIND(chain)
	INCQ turnSlot_asked(CX)
chain:
	MOVQ turns<>+turnTable_preempt(SB), AX
	JMP  AX

// onFault ends the hold of the goroutine that caused the fault, if it has one, and goes on in the handler that Go's
// runtime installed: that makes a panic of it, which it would not while the goroutine is pinned. runtime.procUnpin takes
// g in R14, is nosplit and calls nothing.
TEXT onFault<>(SB), NOSPLIT|NOFRAME, $0-0
	FIND(chain)
	CMPQ turnSlot_held(CX), $0
	JEQ  chain
	MOVQ $0, turnSlot_held(CX)
	PUSHQ DI
	PUSHQ SI
	PUSHQ DX
	MOVQ AX, R14
	MOVQ turns<>+turnTable_unpin(SB), AX
	CALL AX
	POPQ DX
	POPQ SI
	POPQ DI
chain:
	CMPQ DI, $7 // SIGBUS
	JEQ  bus
	MOVQ turns<>+turnTable_segv(SB), AX
	JMP  AX
bus:
	MOVQ turns<>+turnTable_bus(SB), AX
	JMP  AX
