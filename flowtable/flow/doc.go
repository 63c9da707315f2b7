// Package flow is what rules are made of: the key that a packet becomes, the table of fields that says which bits of a
// key are which, matches, actions and rules as plain data, and their validation. It knows neither text nor tables.
//
//	frame --Extract--> Key    words of 64 bits; a Field is a row of the table: word, shift, width, prerequisite
//	                    |
//	Match{Key, Mask} ---+--- Matches?        Rule = Match + priority + table + []Action
//
// # Hostile input
//
// Frames are read once from the header window, every length checked against the frame and the window. Whatever is cut
// short or contradicts itself leaves the fields from there on zero, as Open vSwitch does.
package flow
