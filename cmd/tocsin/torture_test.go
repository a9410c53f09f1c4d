package main

import (
	"flag"
	"testing"

	"github.com/seed91453169/tocsin/internal/torture"
)

var (
	tortureSeed    = flag.Uint64("torture.seed", 0, "the seed of TestTorture; 0: a random one in a long run, else 0")
	tortureMinutes = flag.Float64("torture.minutes", 0, "the length of TestTorture; 0: a few seconds")
)

// TestTorture runs the program while all that surrounds it fails; see package torture. The long form is "make torture".
func TestTorture(t *testing.T) {
	t.Parallel()
	torture.Run(t, *tortureSeed, *tortureMinutes)
}
