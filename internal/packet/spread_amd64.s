#include "go_asm.h"
#include "textflag.h"

// COPY64 copies 64 bytes from SI to DI, COPY128 128. SI and DI stay as they are.
#define COPY64_SSE \
	MOVOU (SI), X0; \
	MOVOU 16(SI), X1; \
	MOVOU 32(SI), X2; \
	MOVOU 48(SI), X3; \
	MOVOU X0, (DI); \
	MOVOU X1, 16(DI); \
	MOVOU X2, 32(DI); \
	MOVOU X3, 48(DI)

#define COPY128_SSE \
	COPY64_SSE; \
	MOVOU 64(SI), X4; \
	MOVOU 80(SI), X5; \
	MOVOU 96(SI), X6; \
	MOVOU 112(SI), X7; \
	MOVOU X4, 64(DI); \
	MOVOU X5, 80(DI); \
	MOVOU X6, 96(DI); \
	MOVOU X7, 112(DI)

#define COPY64_AVX \
	VMOVDQU (SI), Y0; \
	VMOVDQU 32(SI), Y1; \
	VMOVDQU Y0, (DI); \
	VMOVDQU Y1, 32(DI)

#define COPY128_AVX \
	VMOVDQU (SI), Y0; \
	VMOVDQU 32(SI), Y1; \
	VMOVDQU 64(SI), Y2; \
	VMOVDQU 96(SI), Y3; \
	VMOVDQU Y0, (DI); \
	VMOVDQU Y1, 32(DI); \
	VMOVDQU Y2, 64(DI); \
	VMOVDQU Y3, 96(DI)

// A step of a short copy: size bytes through reg, if DX has them. Its bits are the sizes that remain.
#define STEP(size, move, reg, below) \
	TESTQ $size, DX; \
	JZ    below; \
	move  (SI), reg; \
	move  reg, (DI); \
	ADDQ  $size, SI; \
	ADDQ  $size, DI; \
below:

// ASK asks for two lines of the segment that comes later, at the places that SI has in the one being copied.
#define ASK \
	PREFETCHT1 (SI)(R12*1); \
	PREFETCHT1 64(SI)(R12*1)

// SPREAD is the body of both spreads. It copies chunks: what is left of a piece, or of the segment, whichever is less. One of 128
// bytes or more is copied in parts, which overlap: 64 bytes, of which those up to the destination's next line count; upwards, 128
// at a time, to three eighths; the chunk's last 128, which begin inside the chunk, as it has so many; and from there down.
//
// From both ends, as a CPU that sees lines read or written one after another asks for those that follow, a dozen of them, and
// behind a buffer that is not all of the frame. A guest has there what it needs itself: DPDK's the next buffer's description.
//
// SI is where the next byte comes from, with CX bytes there, and DI where it goes to, with room for R8. R10 is the segment that
// follows, of R11 that are left of the frame; BX of these ask for another. R9 is the piece being written. R12 leads from SI to
// the segment that is asked for.
#define SPREAD(COPY64, COPY128) \
	MOVQ dst+0(FP), R9; \
	MOVQ skip+8(FP), R13; \
	MOVQ head+16(FP), SI; \
	MOVQ n+24(FP), CX; \
	MOVQ src+32(FP), R10; \
	MOVQ segments+40(FP), R11; \
	MOVQ asking+48(FP), BX; \
	MOVQ Segment_p(R9), DI; \
	MOVL Segment_n(R9), R8; \
	ADDQ R13, DI; \
	SUBQ R13, R8; \
	XORL R12, R12; \
chunk: \
	MOVQ CX, DX; \
	CMPQ R8, DX; \
	CMOVQLT R8, DX; \
	SUBQ DX, CX; \
	SUBQ DX, R8; \
	CMPQ DX, $128; \
	JLT  short; \
	TESTQ $63, DI; \
	JZ   aligned; \
	COPY64; \
	MOVQ DI, AX; \
	NEGQ AX; \
	ANDQ $63, AX; \
	ADDQ AX, SI; \
	ADDQ AX, DI; \
	SUBQ AX, DX; \
aligned: \
	LEAQ (DX)(DX*2), AX; \
	SHRQ $3, AX; \
	ANDQ $-128, AX; \
	JZ   top; \
	SUBQ AX, DX; \
up: \
	ASK; \
	COPY128; \
	ADDQ $128, SI; \
	ADDQ $128, DI; \
	SUBQ $128, AX; \
	JNZ  up; \
top: \
	MOVQ DX, AX; \
	ANDQ $127, AX; \
	JZ   blocks; \
	LEAQ -128(SI)(DX*1), SI; \
	LEAQ -128(DI)(DX*1), DI; \
	ASK; \
	COPY128; \
	SUBQ DX, SI; \
	SUBQ DX, DI; \
	SUBQ $-128, SI; \
	SUBQ $-128, DI; \
blocks: \
	XORQ DX, AX; \
	JZ   low; \
	ADDQ AX, SI; \
	ADDQ AX, DI; \
down: \
	SUBQ $128, SI; \
	SUBQ $128, DI; \
	ASK; \
	COPY128; \
	SUBQ $128, AX; \
	JNZ  down; \
low: \
	ADDQ DX, SI; \
	ADDQ DX, DI; \
copied: \
	TESTQ CX, CX; \
	JNZ  room; \
	DECQ R11; \
	JLT  done; \
	MOVQ Segment_p(R10), SI; \
	MOVL Segment_n(R10), CX; \
	XORL R12, R12; \
	DECQ BX; \
	JLT  alone; \
	MOVQ (const_lead*Segment__size+Segment_p)(R10), R12; \
	PREFETCHT1 (R12); \
	SUBQ SI, R12; \
alone: \
	ADDQ $Segment__size, R10; \
room: \
	TESTQ R8, R8; \
	JNZ  chunk; \
	ADDQ $Segment__size, R9; \
	MOVQ Segment_p(R9), DI; \
	MOVL Segment_n(R9), R8; \
	JMP  chunk; \
short: \
	TESTQ $64, DX; \
	JZ   below64; \
	COPY64; \
	ADDQ $64, SI; \
	ADDQ $64, DI; \
below64: \
	TESTQ $32, DX; \
	JZ   below32; \
	MOVOU (SI), X0; \
	MOVOU 16(SI), X1; \
	MOVOU X0, (DI); \
	MOVOU X1, 16(DI); \
	ADDQ $32, SI; \
	ADDQ $32, DI; \
below32: \
	STEP(16, MOVOU, X0, below16) \
	STEP(8, MOVQ, AX, below8) \
	STEP(4, MOVL, AX, below4) \
	STEP(2, MOVW, AX, below2) \
	STEP(1, MOVB, AX, below1) \
	JMP  copied; \
done:

// func spreadSSE(dst *Segment, skip int, head unsafe.Pointer, n int, src *Segment, segments, asking int)
TEXT ·spreadSSE(SB), NOSPLIT, $0-56
	SPREAD(COPY64_SSE, COPY128_SSE)
	RET

// func spreadAVX(dst *Segment, skip int, head unsafe.Pointer, n int, src *Segment, segments, asking int)
TEXT ·spreadAVX(SB), NOSPLIT, $0-56
	SPREAD(COPY64_AVX, COPY128_AVX)
	VZEROUPPER
	RET
