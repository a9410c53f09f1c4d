//go:build !race

package testenv

// Slowdown is 1: see the build with the race detector.
const Slowdown = 1
