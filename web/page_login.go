package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/login"
)

const loginPath = "/login"

// loginView is what the page to log in shows.
type loginView struct {
	Next     string
	Username string
	Fault    string
	Unsaved  bool // a form was sent that nobody may have sent
	OIDC     bool
}

func (s *server) showLogin(w http.ResponseWriter, r *http.Request) error {
	next := localPath(r.FormValue("next"))
	who, err := s.callerBySession(r)
	if err != nil {
		return err
	}
	if who != nil {
		s.redirect(w, r, next)
		return nil
	}
	v := loginView{Next: next, Unsaved: r.FormValue("unsaved") != ""}
	if r.FormValue("in") != "" {
		v.Fault = "Name and password are right, but your browser did not keep the session: it does so at " + s.baseURL +
			" only. Log in there."
	}
	return s.renderLogin(w, r, http.StatusOK, v)
}

// loggedIn leads to what was wanted. Who came without TLS though the address of Tocsin has it may have a browser that
// keeps no cookie of ours: that one comes back to the page to log in, which says so.
func (s *server) loggedIn(w http.ResponseWriter, r *http.Request, next string) {
	if s.overTLS() && strings.HasPrefix(r.Header.Get("Origin"), "http://") {
		next = withQuery(loginPath, "next", next, "in", "yes")
	}
	s.redirect(w, r, next)
}

func (s *server) renderLogin(w http.ResponseWriter, r *http.Request, status int, v loginView) error {
	v.OIDC = s.oidc != nil
	return s.render(w, r, view{status: status, template: "login", title: "Log in", data: v})
}

// logInWithPassword begins a session. The answer does not say whether name or password is wrong, and both take the
// same time.
func (s *server) logInWithPassword(w http.ResponseWriter, r *http.Request) error {
	v := loginView{Next: localPath(r.PostFormValue("next")), Username: nameIn(r)}
	if err := dbmodel.CheckUsername(v.Username); err != nil && v.Username != "" { // it says nothing about who exists
		s.auditOf(r.Context(), "login_failed", "").Str("by", "password").Msg("somebody gave what is no name of a user")
		v.Fault = "The name " + err.Error() + "."
		return s.renderLogin(w, r, http.StatusUnauthorized, v)
	}
	who, tooOften, err := s.guess(w, r, v.Username)
	switch {
	case err != nil:
		return err
	case tooOften != "":
		v.Fault = tooOften
		return s.renderLogin(w, r, http.StatusTooManyRequests, v)
	case who == nil:
		v.Fault = "Name and password do not fit together. " +
			"Somebody who runs Tocsin can set another password with \"tocsin user passwd\"."
		return s.renderLogin(w, r, http.StatusUnauthorized, v)
	}
	if err := s.logIn(r, *who); err != nil {
		return err
	}
	s.auditOf(r.Context(), "login", v.Username).Str("by", "password").Msg("a user logged in")
	s.rememberBrowser(w, r, v.Username)
	s.loggedIn(w, r, v.Next)
	return nil
}

// nameIn is the name of a user in a form, which may have been copied with invisible characters at its ends.
func nameIn(r *http.Request) string { return channel.TrimInvisible(r.PostFormValue("username")) }

// guess checks whether the password in a form is that of a user. who is nil where it is not, or where tooOften says
// that it was not even looked at.
func (s *server) guess(
	w http.ResponseWriter, r *http.Request, username string,
) (who *dbmodel.NewSession, tooOften string, err error) {
	keys := s.guessKeys(r, username)
	if wait := s.guesses.Begin(keys, time.Now()); wait > 0 {
		seconds := int(wait.Seconds()) + 1
		s.auditFailedLogin(r.Context(), username).Msg("somebody gave a wrong name or password too often")
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		return nil, "That was wrong too often. Wait " + plural(seconds, "second", "seconds") + ", then try again.", nil
	}
	who, err = s.checkLogin(r.Context(), username, r.PostFormValue("password"))
	switch {
	case err != nil:
		return nil, "", err
	case who == nil:
		s.auditFailedLogin(r.Context(), username).Msg("somebody gave a wrong name or password")
		return nil, "", nil
	}
	s.guesses.Succeeded(keys)
	return who, "", nil
}

// nobodysHash is what a password is compared with where there is no user, or none with a password.
var nobodysHash = sync.OnceValue(func() string {
	hash, err := login.HashPassword("nobody has this password")
	if err != nil {
		panic(fmt.Sprintf("web: %v", err)) // it is long enough
	}
	return hash
})

// checkLogin returns whose name and password these are, nil where they are nobody's.
func (s *server) checkLogin(ctx context.Context, name, password string) (*dbmodel.NewSession, error) {
	var u *dbmodel.User
	err := dbmodel.ErrNotFound
	if dbmodel.CheckUsername(name) == nil {
		u, err = dbmodel.UserByName(ctx, s.db.Reader, name)
	}
	hash := nobodysHash()
	switch {
	case errors.Is(err, dbmodel.ErrNotFound):
		u = nil
	case err != nil:
		return nil, fmt.Errorf("look a user up: %w", err)
	case u.PasswordHash != "" && u.Username != dbmodel.Automation:
		hash = u.PasswordHash
	default:
		u = nil
	}
	// Each hash takes 19 MiB: some at once are enough.
	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("check a password: %w", ctx.Err())
	}
	if fits := login.CheckPassword(hash, password); !fits || u == nil {
		return nil, nil //nolint:nilnil // nobody, and no fault
	}
	return &dbmodel.NewSession{UserID: u.ID, PasswordHash: hash}, nil
}

func (s *server) logOut(w http.ResponseWriter, r *http.Request) error {
	who, err := s.callerBySession(r)
	if err != nil {
		return err
	}
	if err := s.sessions.Destroy(r.Context()); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	if who != nil {
		s.auditOf(r.Context(), "logout", who.viewer.Username).Msg("a user logged out")
	}
	s.redirect(w, r, loginPath)
	return nil
}

// addressOf is the machine that a request comes from, as far as we see it: behind a proxy that is the proxy.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
