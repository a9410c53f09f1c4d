package login

import (
	"cmp"
	"context"
	"crypto/rand"
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

// providerTime is how long the provider may take for an answer.
const providerTime = 15 * time.Second

// LongestFullName is how many characters a full name may have.
const LongestFullName = 255

// OIDC is the registration of this Tocsin at an OpenID Connect provider.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret string
	Proxy        func(to *url.URL) (*url.URL, error) // nil: none
}

// Provider asks the OpenID Connect provider who a user is.
type Provider struct {
	config   OIDC
	redirect string
	client   *http.Client

	turn  chan struct{} // holds one while a caller asks for the provider
	found *oidc.Provider
}

// NewProvider returns the provider of config, which sends browsers back to the address redirect.
func NewProvider(config OIDC, redirect string) *Provider {
	return &Provider{
		config: config, redirect: redirect, client: channel.NewOperatorClient(config.Proxy), turn: make(chan struct{}, 1),
	}
}

// discover returns the provider's configuration. It asks at the first login, not at the start: Tocsin runs without the
// provider. While that does not answer, all other callers wait for the one that asks, each no longer than its context.
func (p *Provider) discover(ctx context.Context) (*oidc.Provider, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.found != nil {
		return p.found, nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.config.Issuer)
	if err != nil {
		return nil, err
	}
	p.found = found
	return found, nil
}

func (p *Provider) oauth(found *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: p.redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile"},
	}
}

// Trip is what the browser keeps while it is at the provider.
type Trip struct{ State, Nonce, Verifier, Next string }

// NewTrip returns a trip that leads to next after logging in.
func NewTrip(next string) Trip {
	return Trip{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: next}
}

// URL returns the address at the provider where a trip begins.
func (p *Provider) URL(ctx context.Context, trip Trip) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, providerTime)
	defer cancel()
	found, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	return p.oauth(found).AuthCodeURL(trip.State, oidc.Nonce(trip.Nonce), oauth2.S256ChallengeOption(trip.Verifier)), nil
}

// Claims are what the provider says of a user.
type Claims struct {
	Subject  string    `json:"sub"`
	Username textClaim `json:"preferred_username"`
	Name     textClaim `json:"name"`

	incomplete bool // the ID token lacks something, and UserInfo did not answer
}

// ErrIncomplete says that a user who is not known yet came without a name, and that UserInfo did not answer.
var ErrIncomplete = errors.New("the provider's ID token has no preferred_username, and its UserInfo did not answer")

// textClaim is a claim that is passed over where the provider gives something that is no text, such as a number.
type textClaim string

// UnmarshalJSON implements json.Unmarshaler.
func (c *textClaim) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = textClaim(text)
	}
	return nil
}

// Claims exchanges the code for what the provider says, and checks that it says so to this Tocsin, now and for this
// browser. What the ID token lacks comes from UserInfo.
func (p *Provider) Claims(ctx context.Context, code string, trip Trip) (*Claims, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), providerTime)
	defer cancel()
	found, err := p.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the provider for its configuration: %w", err)
	}
	token, err := p.oauth(found).Exchange(ctx, code, oauth2.VerifierOption(trip.Verifier))
	if err != nil {
		return nil, fmt.Errorf("exchange the code: %w", withoutAnswer(err))
	}
	text, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("the provider gave no id_token")
	}
	id, err := found.Verifier(&oidc.Config{ClientID: p.config.ClientID}).Verify(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("verify the id_token: %w", err)
	}
	if id.Nonce != trip.Nonce {
		return nil, errors.New("the id_token is for another login")
	}
	out := new(Claims)
	if err := id.Claims(out); err != nil {
		return nil, fmt.Errorf("read the claims: %w", err)
	}
	if out.Subject == "" {
		return nil, errors.New("the id_token has no subject")
	}
	if (out.Username == "" || out.Name == "") && found.UserInfoEndpoint() != "" {
		if err := out.complete(ctx, found, oauth2.StaticTokenSource(token)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// withoutAnswer is an error of oauth2 whose text does not repeat the provider's answer.
func withoutAnswer(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Errorf("the provider answers %s, %q", refused.Response.Status, refused.ErrorCode)
	}
	return err
}

// complete fills what c lacks from UserInfo. A provider whose UserInfo does not answer is no error here: users who are
// known already log in all the same.
func (c *Claims) complete(ctx context.Context, found *oidc.Provider, token oauth2.TokenSource) error {
	info, err := found.UserInfo(ctx, token)
	if err != nil || info.Subject == "" { // the error's text may repeat the answer
		c.incomplete = true
		return nil //nolint:nilerr // see above
	}
	// https://openid.net/specs/openid-connect-core-1_0.html#UserInfoResponse: else its claims must not be used.
	if info.Subject != c.Subject {
		return errors.New("the provider's UserInfo is about another user")
	}
	more := new(Claims)
	if err := info.Claims(more); err != nil {
		return fmt.Errorf("read the claims of UserInfo: %w", err)
	}
	c.Username, c.Name = cmp.Or(c.Username, more.Username), cmp.Or(c.Name, more.Name)
	return nil
}

// namesInOrder is how many names with a number are tried before one with random letters.
const namesInOrder = 5

// User returns the user that the claims are about. At the first login that is the user with the same name, unless
// there is another way to log in as that user: then it is a new user without any rights, however many bear that name.
func (p *Provider) User(ctx context.Context, tx bun.Tx, c *Claims) (*dbmodel.User, error) {
	issuer := p.config.Issuer
	u, err := dbmodel.UserBySubject(ctx, tx, issuer, c.Subject)
	if !errors.Is(err, dbmodel.ErrNotFound) {
		return u, err
	}
	if c.incomplete && c.Username == "" { // a name that is chosen now stays for ever
		return nil, ErrIncomplete
	}
	name := string(c.Username)
	if dbmodel.CheckUsername(name) != nil {
		name = "user"
	}
	for n := 1; ; n++ {
		candidate := name
		switch {
		case n > namesInOrder:
			candidate = name[:min(len(name), 120)] + "-" + strings.ToLower(rand.Text())
		case n > 1:
			candidate = fmt.Sprintf("%s-%d", name[:min(len(name), 120)], n)
		}
		u, isNew, err := dbmodel.EnsuredUser(ctx, tx, candidate)
		if err != nil {
			return nil, err
		}
		if u.OIDCIssuer == issuer && u.OIDCSubject == c.Subject { // by another first login at the same time
			return u, nil
		}
		takenOver := candidate == string(c.Username) && candidate != dbmodel.Automation &&
			u.PasswordHash == "" && u.OIDCSubject == ""
		if !isNew && !takenOver {
			continue
		}
		if isNew {
			name := []rune(strings.ReplaceAll(string(c.Name), "\x00", ""))
			u.FullName = string(name[:min(len(name), LongestFullName)])
			if err := dbmodel.SaveUser(ctx, tx, u); err != nil {
				return nil, err
			}
		}
		return u, dbmodel.SetSubject(ctx, tx, u.ID, issuer, c.Subject)
	}
}
