package web

import (
	"sync"
	"time"
)

// A guess that was wrong makes the next ones wait, first for the same name from the same address, later for the name from
// anywhere and for all from the address. The last two are mild: nobody is to shut others out by guessing at their names, or
// from behind the same proxy.
var guessLimits = [...]struct {
	free    int // wrong ones before anybody waits
	longest time.Duration
}{
	{5, 5 * time.Minute},   // name and address
	{20, time.Minute},      // name
	{100, 5 * time.Second}, // address
}

const (
	// guessMemory is how long after the last one wrong guesses count.
	guessMemory = time.Hour
	// maxGuessers bounds what is remembered: with more of them, some are forgotten.
	maxGuessers = 20_000
)

// guesses slows down the guessing of passwords. It is a matter of one process: several ones allow as many times more.
type guesses struct {
	mu  sync.Mutex
	all map[guessKey]guessCount
}

type guessKey struct {
	limit         int // which of guessLimits
	name, address string
}

type guessCount struct {
	wrong int
	last  time.Time
	until time.Time // nobody may guess before
}

func newGuesses() *guesses { return &guesses{all: map[guessKey]guessCount{}} }

func guessKeys(name, address string) [len(guessLimits)]guessKey {
	const longest = 150 // of a name; what is longer is nobody's
	name = name[:min(len(name), longest)]
	return [...]guessKey{{0, name, address}, {1, name, ""}, {2, "", address}}
}

// begin counts a guess as a wrong one until succeeded says otherwise, so that many at once count, too. It returns how long
// to wait instead, 0 where the guess may be made.
func (g *guesses) begin(name, address string, now time.Time) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	keys := guessKeys(name, address)
	for _, k := range keys {
		wait = max(wait, g.all[k].until.Sub(now))
	}
	if wait > 0 {
		return wait
	}
	g.makeRoom(now)
	for i, k := range keys {
		c := g.all[k]
		if now.Sub(c.last) > guessMemory {
			c = guessCount{}
		}
		c.wrong, c.last = c.wrong+1, now
		if over := c.wrong - guessLimits[i].free; over >= 0 {
			c.until = now.Add(min(time.Second<<min(over, 20), guessLimits[i].longest))
		}
		g.all[k] = c
	}
	return 0
}

// succeeded forgets what was guessed at a name from this address: it was the right one in the end.
func (g *guesses) succeeded(name, address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	keys := guessKeys(name, address)
	delete(g.all, keys[0])
	for _, k := range keys[1:] {
		c := g.all[k]
		c.wrong, c.until = max(c.wrong-1, 0), time.Time{}
		g.all[k] = c
	}
}

// makeRoom forgets what no longer counts once much is remembered, and then anything.
func (g *guesses) makeRoom(now time.Time) {
	if len(g.all) < maxGuessers {
		return
	}
	for k, c := range g.all {
		if now.Sub(c.last) > guessMemory {
			delete(g.all, k)
		}
	}
	for k := range g.all {
		if len(g.all) < maxGuessers/2 {
			return
		}
		delete(g.all, k)
	}
}
