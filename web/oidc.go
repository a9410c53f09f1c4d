package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/uptrace/bun"
	"golang.org/x/oauth2"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
)

const (
	oidcPath         = loginPath + "/oidc"
	oidcCallbackPath = oidcPath + "/callback"
	oidcCookie       = "tocsin_oidc"
	// oidcTime is how long somebody may take at the provider.
	oidcTime = 15 * time.Minute
	// providerTime is how long the provider may take for an answer.
	providerTime = 15 * time.Second
)

// OIDC is the registration of this Tocsin at an OpenID Connect provider. Its redirect URL is /login/oidc/callback.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret string
	Proxy        func(to *url.URL) (*url.URL, error) // nil: none
}

// oidcClient asks the provider who somebody is.
type oidcClient struct {
	config   OIDC
	redirect string
	client   *http.Client

	turn     chan struct{} // holds one for who asks for the provider
	provider *oidc.Provider
}

func newOIDCClient(config OIDC, baseURL string) *oidcClient {
	return &oidcClient{config: config, redirect: baseURL + oidcCallbackPath, client: channel.NewOperatorClient(config.Proxy), turn: make(chan struct{}, 1)}
}

// discover returns the provider. It is asked at the first login, not at the start: without it Tocsin runs all the same. While
// it does not answer, all others wait for the one who asks, and each no longer than its own context.
func (o *oidcClient) discover(ctx context.Context) (*oidc.Provider, error) {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if o.provider != nil {
		return o.provider, nil
	}
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, o.client), o.config.Issuer)
	if err != nil {
		return nil, err
	}
	o.provider = p
	return p, nil
}

func (o *oidcClient) oauth(p *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: o.config.ClientID, ClientSecret: o.config.ClientSecret, Endpoint: p.Endpoint(), RedirectURL: o.redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile"},
	}
}

// oidcTrip is what the browser keeps while it is at the provider.
type oidcTrip struct{ State, Nonce, Verifier, Next string }

// startOIDC sends the browser to the provider.
func (s *server) startOIDC(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), providerTime)
	defer cancel()
	trip := oidcTrip{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: localPath(r.FormValue("next"))}
	p, err := s.oidc.discover(ctx)
	if err != nil {
		return s.oidcFailed(w, r, http.StatusBadGateway, trip, "The login service does not answer. Try again in a moment.", err)
	}
	text, err := json.Marshal(trip)
	if err != nil {
		return err
	}
	http.SetCookie(w, s.cookie(oidcCookie, base64.RawURLEncoding.EncodeToString(text), oidcTime))
	http.Redirect(w, r, s.oidc.oauth(p).AuthCodeURL(trip.State, oidc.Nonce(trip.Nonce), oauth2.S256ChallengeOption(trip.Verifier)), http.StatusSeeOther)
	return nil
}

// logInWithOIDC begins a session for who comes back from the provider.
func (s *server) logInWithOIDC(w http.ResponseWriter, r *http.Request) error {
	trip, ok := s.oidcTripOf(r)
	http.SetCookie(w, s.cookie(oidcCookie, "", -time.Second))
	switch {
	case !ok || r.FormValue("state") != trip.State:
		return s.oidcFailed(w, r, http.StatusBadRequest, trip, "That login was begun in another window, or too long ago. Begin anew.", nil)
	case r.FormValue("error") != "":
		return s.oidcFailed(w, r, http.StatusForbidden, trip, "The login service did not let you in.", nil)
	}
	claims, err := s.oidc.claims(r.Context(), r.FormValue("code"), trip)
	if err != nil {
		return s.oidcFailed(w, r, http.StatusBadGateway, trip, "The login service gave an answer that cannot be used. Try again; an administrator finds more in the log.", err)
	}
	var id int64
	err = s.db.InTx(r.Context(), func(ctx context.Context, tx bun.Tx) error {
		id, err = userOfProvider(ctx, tx, s.oidc.config.Issuer, claims)
		return err
	})
	if err != nil {
		return fmt.Errorf("find or make the user of a provider: %w", err)
	}
	if err := s.logIn(r, dbmodel.NewSession{UserID: id}); err != nil {
		return err
	}
	s.redirect(w, r, localPath(trip.Next))
	return nil
}

func (s *server) oidcTripOf(r *http.Request) (trip oidcTrip, ok bool) {
	c, err := r.Cookie(s.cookieName(oidcCookie))
	if err != nil {
		return trip, false
	}
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	return trip, err == nil && json.Unmarshal(text, &trip) == nil && trip.State != "" && trip.Nonce != ""
}

// oidcFailed shows the page to log in again. What the provider says may hold secrets: the log gets the error, the page not.
func (s *server) oidcFailed(w http.ResponseWriter, r *http.Request, status int, trip oidcTrip, text string, err error) error {
	s.log.Warn().Err(err).Str("request_id", exchangeOf(r.Context()).id).Msg("a login through OpenID Connect failed")
	return s.renderLogin(w, r, status, loginView{Next: localPath(trip.Next), Fault: text})
}

// oidcClaims is what the provider says of somebody.
type oidcClaims struct {
	Subject  string `json:"sub"`
	Username string `json:"preferred_username"`
	Name     string `json:"name"`
}

// claims exchanges the code for what the provider says, and checks that it says it to us, now and for this browser.
func (o *oidcClient) claims(ctx context.Context, code string, trip oidcTrip) (*oidcClaims, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, o.client), providerTime)
	defer cancel()
	p, err := o.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the provider for its configuration: %w", err)
	}
	token, err := o.oauth(p).Exchange(ctx, code, oauth2.VerifierOption(trip.Verifier))
	if err != nil {
		if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok { // whose text repeats the answer
			return nil, fmt.Errorf("exchange the code: the provider answers %s, %q", refused.Response.Status, refused.ErrorCode)
		}
		return nil, fmt.Errorf("exchange the code: %w", err)
	}
	text, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("the provider gave no id_token")
	}
	id, err := p.Verifier(&oidc.Config{ClientID: o.config.ClientID}).Verify(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("verify the id_token: %w", err)
	}
	if id.Nonce != trip.Nonce {
		return nil, errors.New("the id_token is for another login")
	}
	out := new(oidcClaims)
	if err := id.Claims(out); err != nil {
		return nil, fmt.Errorf("read the claims: %w", err)
	}
	if out.Subject == "" {
		return nil, errors.New("the id_token has no subject")
	}
	return out, nil
}

// userOfProvider returns the id of the user whom the provider means. The first time that is the user with the same name,
// unless somebody can log in as that one already: then it is a new user without any rights.
func userOfProvider(ctx context.Context, tx bun.Tx, issuer string, c *oidcClaims) (int64, error) {
	u, err := dbmodel.UserBySubject(ctx, tx, issuer, c.Subject)
	if !errors.Is(err, dbmodel.ErrNotFound) {
		return u.ID, err
	}
	name := c.Username
	if !dbmodel.ValidUsername(name) {
		name = "user"
	}
	for n := 1; n <= 20; n++ {
		candidate := name
		if n > 1 {
			candidate = fmt.Sprintf("%s-%d", name[:min(len(name), 140)], n)
		}
		u, isNew, err := dbmodel.EnsuredUser(ctx, tx, candidate)
		if err != nil {
			return 0, err
		}
		if u.OIDCIssuer == issuer && u.OIDCSubject == c.Subject { // by another first login in this moment
			return u.ID, nil
		}
		takenOver := candidate == c.Username && candidate != dbmodel.Automation && u.PasswordHash == "" && u.OIDCSubject == ""
		if !isNew && !takenOver {
			continue
		}
		if isNew {
			u.FullName = firstRunes(strings.ReplaceAll(c.Name, "\x00", ""), longestFullName)
			if err := dbmodel.SaveUser(ctx, tx, u); err != nil {
				return 0, err
			}
		}
		return u.ID, dbmodel.SetSubject(ctx, tx, u.ID, issuer, c.Subject)
	}
	return 0, newProblem(http.StatusConflict, "There are too many users with this name: an administrator must make one for you.")
}

func firstRunes(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
