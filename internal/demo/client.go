package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	callTimeout = 15 * time.Second
	readyWithin = 30 * time.Second
	pollEvery   = 50 * time.Millisecond
)

// client speaks to Tocsin's API like any web tier does.
type client struct {
	base, token string
	http        *http.Client
}

func newClient(base, token string) *client {
	return &client{base: strings.TrimRight(base, "/"), token: token, http: &http.Client{Timeout: callTimeout}}
}

// send sends body as JSON. An answer other than 2xx is an error.
func (c *client) send(ctx context.Context, method, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	_, err = c.call(ctx, method, "/api/v1"+path, "application/json", b)
	return err
}

// sendAll sends observations as NDJSON.
func (c *client) sendAll(ctx context.Context, list []observation) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i := range list {
		if err := enc.Encode(list[i]); err != nil {
			return fmt.Errorf("observation %d: %w", list[i].ID, err)
		}
	}
	_, err := c.call(ctx, http.MethodPost, "/api/v1/observations", "application/x-ndjson", b.Bytes())
	return err
}

// ready waits until Tocsin takes events.
func (c *client) ready(ctx context.Context) error {
	err := poll(ctx, readyWithin, func() (bool, error) {
		_, err := c.call(ctx, http.MethodGet, "/readyz", "", nil)
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", c.base, err)
	}
	return nil
}

// settled waits until everything reported so far is evaluated, so that the next state of an observation does not
// overwrite one that has not been evaluated.
func (c *client) settled(ctx context.Context) error {
	err := poll(ctx, readyWithin, func() (bool, error) {
		answer, err := c.call(ctx, http.MethodGet, "/api/v1/status", "", nil)
		if err != nil {
			return false, err
		}
		var status struct {
			Outbox *int `json:"outbox"`
		}
		if err := json.Unmarshal(answer, &status); err != nil {
			return false, fmt.Errorf("read status: %w", err)
		}
		return status.Outbox != nil && *status.Outbox == 0, nil
	})
	if err != nil {
		return fmt.Errorf("wait for evaluations: %w", err)
	}
	return nil
}

func (c *client) call(ctx context.Context, method, path, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err // names method and URL itself
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %.500s", method, path, resp.Status, answer)
	}
	return answer, nil
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
