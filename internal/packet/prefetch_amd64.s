#include "go_asm.h"
#include "textflag.h"

// func prefetch(first *Segment, n int)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVQ first+0(FP), AX
	MOVQ n+8(FP), CX
	TESTQ CX, CX
	JLE  done
piece:
	MOVQ Segment_p(AX), DX
	MOVL Segment_n(AX), BX
	ADDQ DX, BX
	ANDQ $-64, DX
line:
	PREFETCHT1 (DX)
	ADDQ $64, DX
	CMPQ DX, BX
	JB   line
	ADDQ $Segment__size, AX
	DECQ CX
	JNZ  piece
done:
	RET

// func prefetchWindow(p unsafe.Pointer)
TEXT ·prefetchWindow(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	PREFETCHT0 (AX)
	PREFETCHT0 (const_WindowSize-1)(AX)
	RET
