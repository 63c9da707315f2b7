package vswitch

// RuleText is a rule as text. Of a list that is streamed, all rules are written into the same memory; as JSON it is a string.
type RuleText []byte

func (t RuleText) String() string { return string(t) }

// MarshalText makes it a string for package json, which does not copy what it gets.
func (t RuleText) MarshalText() ([]byte, error) { return t, nil }

// UnmarshalText is the opposite.
func (t *RuleText) UnmarshalText(text []byte) error {
	*t = append((*t)[:0], text...)
	return nil
}
