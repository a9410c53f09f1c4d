package login

import (
	"fmt"
	"testing"
	"time"
)

func TestGuesses(t *testing.T) {
	t.Parallel()
	g, now := NewGuesses(), time.Now()
	for i := range guessLimits[0].free {
		if wait := g.Begin(GuessKeys("alex", "10.0.0.1"), now); wait != 0 {
			t.Fatalf("guess %d waits %s", i, wait)
		}
	}
	var longest time.Duration
	for range 40 {
		wait := g.Begin(GuessKeys("alex", "10.0.0.1"), now)
		if wait == 0 {
			continue
		}
		if g.Begin(GuessKeys("alex", "10.0.0.1"), now.Add(wait-time.Millisecond)) == 0 {
			t.Fatal("it may be made too early")
		}
		longest, now = max(longest, wait), now.Add(wait)
	}
	if longest != guessLimits[0].longest {
		t.Errorf("the longest wait is %s", longest)
	}
	if wait := g.Begin(GuessKeys("sam", "10.0.0.1"), now); wait != 0 {
		t.Errorf("another name waits %s", wait)
	}
	if wait := g.Begin(GuessKeys("alex", "10.0.0.2"), now.Add(guessLimits[1].longest)); wait > 0 {
		t.Errorf("another address waits %s longer than a minute", wait)
	}
	g.Succeeded(GuessKeys("alex", "10.0.0.1"))
	if wait := g.Begin(GuessKeys("alex", "10.0.0.1"), now.Add(guessLimits[1].longest)); wait > guessLimits[1].longest {
		t.Errorf("after a success it waits %s", wait)
	}
	if wait := g.Begin(GuessKeys("alex", "10.0.0.1"), now.Add(2*guessMemory)); wait != 0 {
		t.Errorf("after hours it waits %s", wait)
	}
}

// TestGuessesOfANetwork: an IPv6 network counts as one address.
func TestGuessesOfANetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"::ffff:10.0.0.1", "::ffff:10.0.0.2", false},
		{"@", "", false}, // a Unix socket
	} {
		if same := GuessKeys("alex", c.a)[2] == GuessKeys("alex", c.b)[2]; same != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, same)
		}
	}
}

func TestGuessesAreBounded(t *testing.T) {
	t.Parallel()
	g, now := NewGuesses(), time.Now()
	for i := range 3 * maxGuessers {
		g.Begin(GuessKeys(fmt.Sprintf("user-%d", i), fmt.Sprintf("address-%d", i)), now)
		if len(g.all) > maxGuessers+len(guessLimits) {
			t.Fatalf("%d are remembered", len(g.all))
		}
	}
}
