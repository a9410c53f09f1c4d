package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/seed91453169/tocsin/dbmodel"
)

// sessionTime is when somebody must log in again.
const sessionTime = 7 * 24 * time.Hour

// newSessions returns the sessions of browsers. Each lives in the database, so that it ends for all processes at once.
func newSessions(s *server) *scs.SessionManager {
	// Not scs.New: that begins with a store in memory, whose goroutine nobody can end for sure.
	m := &scs.SessionManager{
		Lifetime: sessionTime, Store: sessionStore{s.intake}, Codec: scs.GobCodec{},
		Cookie: scs.SessionCookie{
			Name: s.cookieName("tocsin_session"), Path: s.cookiePath(), HttpOnly: true, Secure: s.overTLS(),
			SameSite: http.SameSiteLaxMode, Persist: true,
		},
	}
	m.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
		if exchangeOf(r.Context()).begun {
			_ = s.fail(r.Context(), err) // it is logged; the answer stands already; what is lost is a notice
			return
		}
		s.failPage(w, r, err)
	}
	return m
}

// overTLS reports whether browsers come over TLS, by the address that they know.
func (s *server) overTLS() bool { return strings.HasPrefix(s.baseURL, "https://") }

// cookieName is the name of a cookie. Browsers take one that begins with __Host- only from this very host, over TLS,
// and for all its paths; below a path, __Secure- at least says that it came over TLS.
func (s *server) cookieName(name string) string {
	switch {
	case s.overTLS() && s.basePath == "":
		return "__Host-" + name
	case s.overTLS():
		return "__Secure-" + name
	}
	return name
}

// cookiePath limits cookies to the path of the base URL: another application may have the rest of the host.
func (s *server) cookiePath() string { return cmp.Or(s.basePath, "/") }

// cookie is a cookie for this host alone, for so long; less than nothing takes it away. Links from elsewhere send it,
// as that by which a provider leads back here, forms from elsewhere do not.
func (s *server) cookie(name, value string, keep time.Duration) *http.Cookie {
	return &http.Cookie{ // #nosec G124 -- Secure where we are reached over TLS
		Name: s.cookieName(name), Value: value, Path: s.cookiePath(), MaxAge: int(keep.Seconds()), HttpOnly: true,
		Secure: s.overTLS(), SameSite: http.SameSiteLaxMode,
	}
}

// newCrossOrigin returns the check that a request which changes something comes from a page of ours, or from no page
// at all.
func newCrossOrigin(baseURL string) *http.CrossOriginProtection {
	c := http.NewCrossOriginProtection()
	if u, err := url.Parse(baseURL); err == nil && u.Host != "" {
		_ = c.AddTrustedOrigin(u.Scheme + "://" + u.Host) // of a URL that config has checked
	}
	return c
}

// callerBySession returns who comes with the cookie of a session, nil where that is nobody. The database is asked each
// time: a session that has ended, and a right that was taken, are gone at once.
func (s *server) callerBySession(r *http.Request) (*caller, error) {
	c, err := r.Cookie(s.sessions.Cookie.Name)
	if err != nil || c.Value == "" {
		return nil, nil //nolint:nilnil,nilerr // nobody, and no fault
	}
	v, err := dbmodel.ViewerBySession(r.Context(), s.intake.Reader, c.Value)
	switch {
	case errors.Is(err, dbmodel.ErrNotFound):
		return nil, nil //nolint:nilnil // nobody, and no fault
	case err != nil:
		return nil, err
	}
	return &caller{viewer: v, session: true}, nil
}

// logIn begins a session for a user who has proved their identity, and ends the earlier one.
func (s *server) logIn(r *http.Request, who dbmodel.NewSession) error {
	ctx := r.Context()
	if err := s.sessions.Clear(ctx); err != nil {
		return err
	}
	if err := s.sessions.RenewToken(ctx); err != nil {
		return err
	}
	x := exchangeOf(ctx)
	x.login = &who
	_, _, err := s.sessions.Commit(ctx) // the cookie goes out with the answer
	x.login = nil
	return err
}

// sessionStore keeps sessions in the database. Only logIn makes one: what else is saved, is saved of one that is there.
type sessionStore struct{ db *dbmodel.DB }

var _ scs.CtxStore = sessionStore{}

// FindCtx implements scs.CtxStore.
func (s sessionStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return dbmodel.SessionData(ctx, s.db.Reader, token)
}

// CommitCtx implements scs.CtxStore.
func (s sessionStore) CommitCtx(ctx context.Context, token string, data []byte, expires time.Time) error {
	who := exchangeOf(ctx).login
	if who == nil {
		return dbmodel.SaveSession(ctx, s.db, token, data, expires)
	}
	err := dbmodel.AddSession(ctx, s.db, *who, token, data, expires)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return passwordChanged()
	}
	return err
}

// passwordChanged is the answer to a user who proved a password that was replaced meanwhile.
func passwordChanged() *problem {
	return newProblem(http.StatusConflict, "The password was changed in this moment: log in with the new one.")
}

// DeleteCtx implements scs.CtxStore.
func (s sessionStore) DeleteCtx(ctx context.Context, token string) error {
	return dbmodel.EndSession(ctx, s.db, token)
}

// Find implements scs.Store.
func (s sessionStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit implements scs.Store.
func (s sessionStore) Commit(token string, data []byte, expires time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expires)
}

// Delete implements scs.Store.
func (s sessionStore) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
