package web

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/web/login"
)

// guessKeys returns what the guess in a request counts for.
func (s *server) guessKeys(r *http.Request, name string) []login.GuessKey {
	if id := s.knownBrowser(r, name); id != "" {
		return login.BrowserKeys(name, id)
	}
	return login.GuessKeys(name, addressOf(r))
}

const (
	knownCookie = "tocsin_known"
	// knownTime is how long a browser stays known after a user has logged in with a password.
	knownTime = 180 * 24 * time.Hour
)

// knownBrowser returns the id of a browser in which the user with this name has logged in before, empty where that is
// not so.
func (s *server) knownBrowser(r *http.Request, name string) string {
	c, err := r.Cookie(s.cookieName(knownCookie))
	if err != nil {
		return ""
	}
	id, proof, _ := strings.Cut(c.Value, ".")
	if subtle.ConstantTimeCompare([]byte(proof), []byte(s.browserProof(name, id))) != 1 {
		return ""
	}
	return id
}

// browserProof proves that the user with this name has logged in with the browser of this id.
func (s *server) browserProof(name, id string) string { return s.vault.Proof("browser", name, id) }

// rememberBrowser makes the browser one that the user with this name is known in.
func (s *server) rememberBrowser(w http.ResponseWriter, r *http.Request, name string) {
	id := s.knownBrowser(r, name)
	if id == "" {
		id = rand.Text()
	}
	http.SetCookie(w, s.cookie(knownCookie, id+"."+s.browserProof(name, id), knownTime))
}
