//go:build race

package testenv

// Slowdown is how many times slower this build is than one without the race detector, by which SQLite, which is Go code,
// suffers most: Eventually waits so many times as long, and tests of bulk take so many times fewer rows.
const Slowdown = 5
