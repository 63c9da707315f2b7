//go:build race

package main

// raceDetector says that the race detector watches this test binary.
const raceDetector = true
