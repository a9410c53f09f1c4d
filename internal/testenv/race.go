//go:build race

package testenv

// Slowdown is how many times slower, at the most, this build is than one without the race detector: Eventually waits so
// many times as long, and tests of bulk take so many times fewer rows.
const Slowdown = 5
