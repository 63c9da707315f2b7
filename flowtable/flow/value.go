package flow

import "math/bits"

// Value is a number of up to 128 bits: the value or the mask of a field.
type Value struct{ Hi, Lo uint64 }

// Ones is the number whose low n bits are set, n from 0 to 128.
func Ones(n int) Value {
	if n >= 64 {
		return Value{1<<(n-64) - 1, ^uint64(0)}
	}
	return Value{0, 1<<n - 1}
}

// Shl is v shifted left by n bits, n from 0 to 127.
func (v Value) Shl(n int) Value {
	if n >= 64 {
		return Value{v.Lo << (n - 64), 0}
	}
	return Value{v.Hi<<n | v.Lo>>(64-n), v.Lo << n}
}

// Shr is v shifted right by n bits, n from 0 to 127.
func (v Value) Shr(n int) Value {
	if n >= 64 {
		return Value{0, v.Hi >> (n - 64)}
	}
	return Value{v.Hi >> n, v.Lo>>n | v.Hi<<(64-n)}
}

// And, Or and Not work bit by bit.
func (v Value) And(o Value) Value { return Value{v.Hi & o.Hi, v.Lo & o.Lo} }

func (v Value) Or(o Value) Value { return Value{v.Hi | o.Hi, v.Lo | o.Lo} }

func (v Value) Not() Value { return Value{^v.Hi, ^v.Lo} }

// IsZero reports whether no bit is set.
func (v Value) IsZero() bool { return v.Hi|v.Lo == 0 }

// Len is how many bits v takes.
func (v Value) Len() int {
	if v.Hi != 0 {
		return 64 + bits.Len64(v.Hi)
	}
	return bits.Len64(v.Lo)
}
