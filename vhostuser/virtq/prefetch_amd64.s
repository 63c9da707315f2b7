#include "go_asm.h"
#include "textflag.h"

// func prefetchRead(first *buffer, n int, header, most uintptr)
TEXT ·prefetchRead(SB), NOSPLIT, $0-32
	MOVQ first+0(FP), AX
	MOVQ n+8(FP), CX
	MOVQ header+16(FP), SI
	MOVQ most+24(FP), DI
	TESTQ CX, CX
	JLE  done
loop:
	MOVQ buffer_at(AX), DX
	MOVL buffer_len(AX), BX
	PREFETCHT0 (DX)(SI*1)
	CMPQ BX, DI
	CMOVQHI DI, BX
	PREFETCHT0 -1(DX)(BX*1)
	ADDQ $buffer__size, AX
	DECQ CX
	JNZ  loop
done:
	RET

// func claim(first *buffer, n int, header uintptr, own, read int)
// PREFETCHW is spelled as bytes: 0F 0D /1.
TEXT ·claim(SB), NOSPLIT, $0-40
	MOVQ first+0(FP), AX
	MOVQ n+8(FP), CX
	MOVQ header+16(FP), SI
	TESTQ CX, CX
	JLE  done
	MOVQ own+24(FP), R11
	MOVQ read+32(FP), R10
	MOVQ AX, R8
	MOVQ CX, R9
ask:
	MOVQ buffer_at(AX), DX
	ADDQ SI, DX
	BYTE $0x0f; BYTE $0x0d; BYTE $0x0a                         // PREFETCHW (DX)
	BYTE $0x42; BYTE $0x0f; BYTE $0x0d; BYTE $0x0c; BYTE $0x1a // PREFETCHW (DX)(R11*1)
	ADDQ $buffer__size, AX
	DECQ CX
	JNZ  ask
write:
	MOVQ buffer_at(R8), DX
	MOVL buffer_len(R8), BX
	MOVWLZX buffer_flags(R8), DI
	PREFETCHT0 (DX)(R10*1)
	ANDL $(const_descNext|const_descWrite|const_descIndirect), DI
	CMPL DI, $const_descWrite
	JNE  next
	TESTQ DX, DX
	JZ   next
	CMPQ BX, SI
	JLS  next
	MOVB $0, (DX)(SI*1)
next:
	ADDQ $buffer__size, R8
	DECQ R9
	JNZ  write
done:
	RET
