// Package client calls Tocsin over HTTP. Its types come from the OpenAPI document; Call makes those calls that have no
// method of their own. It imports nothing else of Tocsin.
//
// A web tier in Go that shares Tocsin's database, or its Redis, may use the package tasks in its place.
package client

//go:generate go tool -modfile=../tools/go.mod oapi-codegen -config oapi-codegen.yaml openapi.json

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// attempts is how often a call is made that is refused for the moment.
	attempts = 6
	// longestPause is between two of them.
	longestPause = 30 * time.Second
	// longestAnswer is how many bytes of an answer are read.
	longestAnswer = 64 << 20

	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
)

// Client calls one Tocsin. Methods may be called at the same time.
type Client struct {
	// Base is the address of Tocsin, as TOCSIN_BASE_URL has it.
	Base string
	// Token is an API token, as "tocsin token create" prints it.
	Token string
	// HTTP makes the requests; nil: one without a time-out of its own. Contexts bound calls.
	HTTP *http.Client
}

// plain is for clients without one of their own.
var plain = &http.Client{}

// Error is an answer that is no success. Nothing was stored, but for the leading lines that Problem.Stored counts.
type Error struct {
	Call    string // method and path
	Problem Problem
	// RetryAfter is when to try again; 0: the answer does not say.
	RetryAfter time.Duration
}

// Error implements error: with each faulty field.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d %s", e.Call, e.Problem.Status, e.Problem.Detail)
	if e.Problem.Errors != nil {
		for _, f := range *e.Problem.Errors {
			fmt.Fprintf(&b, " (%s %s)", f.Location, f.Message)
		}
	}
	return b.String()
}

// IsStatus reports whether err is an answer with the given status.
func IsStatus(err error, status int) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Problem.Status == int64(status)
}

// Call makes a call below /api/v1, for instance "PUT", "/products/1", with body as JSON; nil: without one. It reads the
// answer into out, if that is given, and repeats a call that is refused for the moment: with 429, 502, 503 or 504. A
// field that a struct cannot send as null goes as a map.
func (c *Client) Call(ctx context.Context, method, path string, body, out any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return c.repeat(ctx, func() error {
		if body == nil {
			return c.once(ctx, method, path, "", nil, out)
		}
		return c.once(ctx, method, path, mediaJSON, bytes.NewReader(text), out)
	})
}

// repeat makes a call until it is not refused for the moment.
func (c *Client) repeat(ctx context.Context, call func() error) error {
	pause := 250 * time.Millisecond
	for n := 1; ; n++ {
		err := call()
		e, ok := errors.AsType[*Error](err)
		if !ok || n == attempts || !isForTheMoment(e.Problem.Status) {
			return err
		}
		timer := time.NewTimer(min(max(pause, e.RetryAfter), longestPause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
		pause *= 2
	}
}

func isForTheMoment(status int64) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// once makes a call once.
func (c *Client) once(ctx context.Context, method, path, media string, body io.Reader, out any) error {
	response, err := c.send(ctx, method, path, media, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}

// send makes a request. The caller closes the body of the answer, which is a success.
func (c *Client) send(ctx context.Context, method, path, media string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.Base, "/")+"/api/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Authorization", "Bearer "+c.Token)
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	h := c.HTTP
	if h == nil {
		h = plain
	}
	response, err := h.Do(request) // #nosec G704 -- the caller says where its Tocsin is
	if err != nil {
		return nil, err // which names method and address
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, refusal(method+" "+path, response)
}

// refusal reads an answer that is no success. A proxy may have given it.
func refusal(call string, response *http.Response) *Error {
	e := &Error{Call: call}
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil || json.Unmarshal(text, &e.Problem) != nil || e.Problem.Detail == "" {
		e.Problem = Problem{Title: http.StatusText(response.StatusCode), Detail: response.Status}
	}
	e.Problem.Status = int64(response.StatusCode)
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
