// Package demo shows what Tocsin does: sample products and events, and a local receiver that shows what email, Teams
// and Slack would get. It speaks to Tocsin through its HTTP API alone, as a web tier does, and uses nothing of its
// internals. It does not start Tocsin, and works on one machine only.
package demo

import (
	"context"
	"fmt"
	"time"
)

// DefaultEvery is how long the demo waits between two events once everything has been shown.
const DefaultEvery = 20 * time.Second

// patience is how many events in a row may fail, for instance while Tocsin restarts, before Seed gives up.
const patience = 15

// Target is the Tocsin that is fed.
type Target struct {
	APIBase  string        // "http://127.0.0.1:8080"
	Token    string        // of an administrator: global settings are set too
	Receiver *Receiver     // where all messages shall go
	Every    time.Duration // between two events at the end; 0: DefaultEvery
}

// Seed sets up products and their notification settings, reports the sample observations, then one event of every
// kind, and goes on slowly until ctx ends, which is no error. Tocsin must send email to Receiver.SMTPURL and may
// reach its webhooks only where 127.0.0.0/8 is among the allowed networks. Running it again on the same Tocsin is
// harmless.
func Seed(ctx context.Context, t Target) error {
	if err := seed(ctx, t); ctx.Err() == nil {
		return err
	}
	return nil
}

func seed(ctx context.Context, t Target) error {
	products, observations, err := sample()
	if err != nil {
		return err
	}
	api := newTocsin(t.APIBase, t.Token)
	if err := setUp(ctx, api, t.Receiver, products); err != nil {
		return fmt.Errorf("set up the demo: %w", err)
	}
	s := newStory(api, products, observations)
	if err := s.everyKind(ctx); err != nil {
		return fmt.Errorf("report the demo's events: %w", err)
	}
	every := t.Every
	if every == 0 {
		every = DefaultEvery
	}
	for failures := 0; ; {
		if err := pause(ctx, every); err != nil {
			return err
		}
		if err := s.next(ctx); err == nil {
			failures = 0
		} else if failures++; failures == patience {
			return fmt.Errorf("report the demo's events: %w", err)
		}
	}
}
