// Package channeltest is the one suite that every sender must pass: which answer means what, time-outs, broken
// connections, no secret in any error, hostile messages. It also checks payloads with validators of other people. It
// is for tests only.
package channeltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed91453169/tocsin/channel"
)

// Secret stands in every address, path, query, key and password of the suite, Gossip in all that a receiver says.
// Neither may be in an error.
const (
	Secret = "s3cr3tT0ken"
	Gossip = "said-by-the-receiver"
)

// Time-outs. A send that should end by itself gets patience; one that must be ended by its deadline gets deadline, and
// has to be back within margin of it, which leaves room for a busy machine.
const (
	patience = 20 * time.Second
	deadline = 300 * time.Millisecond
	margin   = 2 * time.Second
)

// Setup starts a receiver for one test, and returns a sender and a target that lead to it.
type Setup func(t *testing.T) (channel.Sender, channel.Target)

// Want is the outcome that a send must have.
type Want struct {
	OK         bool
	Kind       channel.Kind
	RetryAfter time.Duration // exact to a few seconds
	TooLarge   bool
	Says       string // must be part of the reason
}

// Case is one way in which a receiver may behave.
type Case struct {
	Name  string
	Setup Setup
	Want  Want
	Hangs bool // the send must end by its deadline, and by nothing else
	After func(t *testing.T)
}

// Suite is what one sender must pass. Every sender has the first four; Cases are those of its protocol.
type Suite struct {
	Accepts   Setup // takes every message
	Refuses   Setup // nobody listens
	Hangs     Setup // accepts the connection and says nothing
	BreaksOff Setup // closes the connection in the middle of its answer
	Cases     []Case
}

// Run runs the suite.
func (s Suite) Run(t *testing.T) {
	t.Helper()
	cases := append([]Case{
		{Name: "accepts", Setup: s.Accepts, Want: Want{OK: true}},
		{
			Name: "refuses the connection", Setup: s.Refuses,
			Want: Want{Kind: channel.Temporary, Says: "refused the connection"},
		},
		{Name: "hangs", Setup: s.Hangs, Hangs: true, Want: Want{Kind: channel.Temporary, Says: "in time"}},
		{Name: "breaks off", Setup: s.BreaksOff, Want: Want{Kind: channel.Temporary}},
	}, s.Cases...)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			sender, to := c.Setup(t)
			limit := patience
			if c.Hangs {
				limit = deadline
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			begun := time.Now()
			err := sender.Send(ctx, to, Message("Critical: CVE-2026-1234 in Payments API"))
			if took := time.Since(begun); took > limit+margin {
				t.Errorf("Send took %v with a deadline of %v", took, limit)
			} else if c.Hangs && took < limit/2 {
				t.Errorf("Send gave up after %v, before its deadline of %v", took, limit)
			} else if !c.Hangs && took >= limit {
				t.Errorf("only its deadline of %v ended Send", limit)
			}
			Check(t, err, c.Want)
			if c.After != nil {
				c.After(t)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		sender, to := s.Hangs(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		Check(t, sender.Send(ctx, to, Message("x")), Want{Kind: channel.Temporary, Says: "interrupted"})
	})
}

// Check compares err with want, and fails where err shows a secret.
func Check(t *testing.T, err error, want Want) {
	t.Helper()
	if err == nil {
		if !want.OK {
			t.Errorf("Send succeeded, want kind %v", want.Kind)
		}
		return
	}
	NoLeak(t, err)
	var got *channel.Error
	if !errors.As(err, &got) {
		t.Fatalf("Send returned %T, want *channel.Error", err)
	}
	if want.OK {
		t.Fatalf("Send failed: %v", err)
	}
	if got.Kind != want.Kind {
		t.Errorf("kind %v, want %v (%v)", got.Kind, want.Kind, err)
	}
	if d := got.RetryAfter - want.RetryAfter; d < -5*time.Second || d > 5*time.Second ||
		(want.RetryAfter == 0) != (got.RetryAfter == 0) {
		t.Errorf("retry after %v, want %v", got.RetryAfter, want.RetryAfter)
	}
	if got.TooLarge != want.TooLarge {
		t.Errorf("too large: %v, want %v (%v)", got.TooLarge, want.TooLarge, err)
	}
	if got.Reason == "" || !strings.Contains(got.Reason, want.Says) {
		t.Errorf("reason %q, want one with %q", got.Reason, want.Says)
	}
}

// NoLeak fails where err, or anything that it wraps, shows a secret, an address or what the receiver said, in any of
// the ways in which errors get printed.
func NoLeak(t *testing.T, err error) {
	t.Helper()
	forbidden := []string{Secret, Gossip, "http://", "https://", "127.0.0.1", "localhost", "sig="}
	walk(err, func(e error) {
		asJSON, _ := json.Marshal(e)
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e), string(asJSON)} {
			for _, f := range forbidden {
				if strings.Contains(text, f) {
					t.Errorf("error shows %q: %s", f, text)
				}
			}
		}
	})
}

func walk(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	switch e := err.(type) { //nolint:errorlint // every error of the tree is looked at, one by one
	case interface{ Unwrap() error }:
		walk(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			walk(inner, visit)
		}
	}
}
