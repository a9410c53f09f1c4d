package web

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// A guess that was wrong makes the next ones wait, first for the same name from the same address, later for the name from
// anywhere and for all from the address. Who goes on guessing could shut others out so, above all where all come through one
// proxy: a browser in which somebody has logged in before therefore counts for itself, see knownBrowser.
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
	limit         int    // which of guessLimits
	name, address string // or, of a known browser, its id
}

type guessCount struct {
	wrong int
	last  time.Time
	until time.Time // nobody may guess before
}

func newGuesses() *guesses { return &guesses{all: map[guessKey]guessCount{}} }

// guessKeys are what a guess at a name from an address counts for.
func guessKeys(name, address string) []guessKey {
	const longest = 150 // of a name; what is longer is nobody's
	name = name[:min(len(name), longest)]
	const network = 64 // bits of an IPv6 address: whoever has one of them has all
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() && !a.Is4In6() {
		address = netip.PrefixFrom(a.WithZone(""), network).Masked().String()
	}
	return []guessKey{{0, name, address}, {1, name, ""}, {2, "", address}}
}

// guessKeys are what the guess in a request counts for.
func (s *server) guessKeys(r *http.Request, name string) []guessKey {
	if id := s.knownBrowser(r, name); id != "" {
		return []guessKey{{0, name, id}}
	}
	return guessKeys(name, addressOf(r))
}

const (
	knownCookie = "tocsin_known"
	// knownTime is how long a browser stays known after somebody has logged in with a password.
	knownTime = 180 * 24 * time.Hour
)

// knownBrowser returns the id of a browser in which the user with this name has logged in before, empty where that is not so.
func (s *server) knownBrowser(r *http.Request, name string) string {
	c, err := r.Cookie(s.cookieName(knownCookie))
	if err != nil {
		return ""
	}
	id, proof, _ := strings.Cut(c.Value, ".")
	if subtle.ConstantTimeCompare([]byte(proof), []byte(s.vault.BrowserKey(name, id))) != 1 {
		return ""
	}
	return id
}

// rememberBrowser makes the browser one that the user with this name is known in.
func (s *server) rememberBrowser(w http.ResponseWriter, r *http.Request, name string) {
	id := s.knownBrowser(r, name)
	if id == "" {
		id = rand.Text()
	}
	http.SetCookie(w, s.cookie(knownCookie, id+"."+s.vault.BrowserKey(name, id), knownTime))
}

// begin counts a guess as a wrong one until succeeded says otherwise, so that many at once count, too. It returns how long
// to wait instead, 0 where the guess may be made.
func (g *guesses) begin(keys []guessKey, now time.Time) (wait time.Duration) {
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

// succeeded forgets what was guessed at a name from this address: it was the right one in the end.
func (g *guesses) succeeded(keys []guessKey) {
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
