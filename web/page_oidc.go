package web

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/login"
)

const (
	oidcPath         = loginPath + "/oidc"
	oidcCallbackPath = oidcPath + "/callback"
	oidcCookie       = "tocsin_oidc"
	// oidcTime is how long a user may take at the provider.
	oidcTime = 15 * time.Minute

	oidcUnusable = "The login service gave an answer that cannot be used. Try again; " +
		"an administrator finds more in the log."
)

// startOIDC sends the browser to the provider.
func (s *server) startOIDC(w http.ResponseWriter, r *http.Request) error {
	trip := login.NewTrip(localPath(r.FormValue("next")))
	at, err := s.oidc.URL(r.Context(), trip)
	if err != nil {
		return s.oidcFailed(w, r, http.StatusBadGateway, trip, "The login service does not answer. Try again in a moment.",
			err)
	}
	text, err := json.Marshal(trip)
	if err != nil {
		return err
	}
	http.SetCookie(w, s.cookie(oidcCookie, base64.RawURLEncoding.EncodeToString(text), oidcTime))
	http.Redirect(w, r, at, http.StatusSeeOther)
	return nil
}

// logInWithOIDC begins a session for a user who comes back from the provider.
func (s *server) logInWithOIDC(w http.ResponseWriter, r *http.Request) error {
	trip, ok := s.oidcTripOf(r)
	http.SetCookie(w, s.cookie(oidcCookie, "", -time.Second))
	switch {
	case !ok || r.FormValue("state") != trip.State:
		return s.oidcFailed(w, r, http.StatusBadRequest, trip,
			"That login was begun in another window, or too long ago. Begin anew.", nil)
	case r.FormValue("error") != "":
		return s.oidcFailed(w, r, http.StatusForbidden, trip, "The login service did not let you in.", nil)
	}
	claims, err := s.oidc.Claims(r.Context(), r.FormValue("code"), trip)
	if err != nil {
		return s.oidcFailed(w, r, http.StatusBadGateway, trip, oidcUnusable, err)
	}
	var u *dbmodel.User
	err = s.db.InTx(r.Context(), func(ctx context.Context, tx bun.Tx) error {
		u, err = s.oidc.User(ctx, tx, claims)
		return err
	})
	if errors.Is(err, login.ErrIncomplete) {
		return s.oidcFailed(w, r, http.StatusBadGateway, trip, oidcUnusable, err)
	}
	if err != nil {
		return fmt.Errorf("find or make the user of a provider: %w", err)
	}
	if err := s.logIn(r, dbmodel.NewSession{UserID: u.ID}); err != nil {
		return err
	}
	s.auditOf(r.Context(), "login", u.Username).Str("by", "oidc").Msg("a user logged in")
	s.redirect(w, r, localPath(trip.Next))
	return nil
}

func (s *server) oidcTripOf(r *http.Request) (trip login.Trip, ok bool) {
	c, err := r.Cookie(s.cookieName(oidcCookie))
	if err != nil {
		return trip, false
	}
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	return trip, err == nil && json.Unmarshal(text, &trip) == nil && trip.State != "" && trip.Nonce != ""
}

// oidcFailed shows the page to log in again. What the provider says may hold secrets: the log gets the error, the page
// not.
func (s *server) oidcFailed(
	w http.ResponseWriter, r *http.Request, status int, trip login.Trip, text string, err error,
) error {
	s.auditOf(r.Context(), "login_failed", "").Str("by", "oidc").Err(err).Msg("a login through OpenID Connect failed")
	return s.renderLogin(w, r, status, loginView{Next: localPath(trip.Next), Fault: text})
}
