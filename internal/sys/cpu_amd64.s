#include "textflag.h"

// func PrefetchEach(p *uintptr, n int)
TEXT ·PrefetchEach(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), CX
	TESTQ CX, CX
	JLE  done
loop:
	MOVQ (AX), DX
	PREFETCHT0 (DX)
	ADDQ $8, AX
	DECQ CX
	JNZ  loop
done:
	RET

// func PrefetchWriteEach(p *uintptr, n int)
// PREFETCHW is spelled as bytes: 0F 0D /1.
TEXT ·PrefetchWriteEach(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), CX
	TESTQ CX, CX
	JLE  done
loop:
	MOVQ (AX), DX
	BYTE $0x0f; BYTE $0x0d; BYTE $0x0a // PREFETCHW (DX)
	ADDQ $8, AX
	DECQ CX
	JNZ  loop
done:
	RET

// func Cycles() uint64
TEXT ·Cycles(SB), NOSPLIT, $0-8
	RDTSC
	SHLQ $32, DX
	ORQ  DX, AX
	MOVQ AX, ret+0(FP)
	RET

// func Pause()
TEXT ·Pause(SB), NOSPLIT, $0-0
	PAUSE
	RET
