package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed91453169/tocsin/client"
)

const (
	callTimeout   = 15 * time.Second
	settledWithin = 30 * time.Second
	pollEvery     = 50 * time.Millisecond
)

// tocsin is Tocsin as the demo calls it.
type tocsin struct{ *client.Client }

func newTocsin(base, token string) tocsin {
	return tocsin{&client.Client{Base: base, Token: token, HTTP: &http.Client{Timeout: callTimeout}}}
}

// settled waits until everything reported so far is evaluated, so that the next state of an observation does not
// overwrite one that has not been evaluated.
func (a tocsin) settled(ctx context.Context) error {
	err := poll(ctx, settledWithin, func() (bool, error) {
		status, err := a.Status(ctx)
		return status.Outbox == 0, err
	})
	if err != nil {
		return fmt.Errorf("wait for evaluations: %w", err)
	}
	return nil
}

var errTimeout = errors.New("it takes too long")

// poll asks until done says yes or fails, ctx ends or the time is over.
func poll(ctx context.Context, within time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, errTimeout)
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
