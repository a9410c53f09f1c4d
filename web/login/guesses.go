package login

import (
	"net/netip"
	"sync"
	"time"
)

// A wrong guess makes the next ones wait, first those at the same name from the same address, later those at the name
// from anywhere and all from the address. An attacker could shut users out so, above all where all of them come
// through one proxy: a browser in which the user has logged in before therefore counts for itself, see BrowserKeys.
var guessLimits = [...]struct {
	free    int // wrong ones before the next one waits
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

// Guesses slows down the guessing of passwords. It belongs to one process: n processes allow n times as many guesses.
type Guesses struct {
	mu  sync.Mutex
	all map[GuessKey]guessCount
}

// GuessKey is one of the things that a guess counts for.
type GuessKey struct {
	limit         int    // which of guessLimits
	name, address string // or, of a known browser, its id
}

type guessCount struct {
	wrong int
	last  time.Time
	until time.Time // no guess may be made before
}

// NewGuesses returns Guesses that remember none.
func NewGuesses() *Guesses { return &Guesses{all: map[GuessKey]guessCount{}} }

// GuessKeys returns what a guess at a name from an address counts for.
func GuessKeys(name, address string) []GuessKey {
	const longest = 150 // of a name; no user has a longer one
	name = name[:min(len(name), longest)]
	const network = 64 // bits of an IPv6 address: its owner has all of them
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() && !a.Is4In6() {
		address = netip.PrefixFrom(a.WithZone(""), network).Masked().String()
	}
	return []GuessKey{{0, name, address}, {1, name, ""}, {2, "", address}}
}

// BrowserKeys returns what a guess at a name counts for in a browser in which the user with this name has logged in
// before.
func BrowserKeys(name, browserID string) []GuessKey { return []GuessKey{{0, name, browserID}} }

// Begin counts a guess as a wrong one until Succeeded says otherwise, so that many at once count, too. It returns how
// long to wait instead, 0 where the guess may be made.
func (g *Guesses) Begin(keys []GuessKey, now time.Time) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range keys {
		wait = max(wait, g.all[k].until.Sub(now))
	}
	if wait > 0 {
		return wait
	}
	g.makeRoom(now)
	for _, k := range keys {
		c := g.all[k]
		if now.Sub(c.last) > guessMemory {
			c = guessCount{}
		}
		c.wrong, c.last = c.wrong+1, now
		if over := c.wrong - guessLimits[k.limit].free; over >= 0 {
			c.until = now.Add(min(time.Second<<min(over, 20), guessLimits[k.limit].longest))
		}
		g.all[k] = c
	}
	return 0
}

// Succeeded forgets the guesses at a name from this address: the last one was right.
func (g *Guesses) Succeeded(keys []GuessKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, keys[0])
	for _, k := range keys[1:] {
		c := g.all[k]
		c.wrong, c.until = max(c.wrong-1, 0), time.Time{}
		g.all[k] = c
	}
}

// makeRoom forgets what no longer counts once much is remembered, and then anything.
func (g *Guesses) makeRoom(now time.Time) {
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
