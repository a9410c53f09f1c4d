package program

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
)

// Client calls the HTTP interface of a process.
type Client struct {
	URL   string // without a slash at its end
	Token string
	HTTP  *http.Client
}

// Try makes a call and returns the status and body of the answer. A body that is an io.Reader is sent as NDJSON, a
// json.RawMessage as it is, any other value but nil as JSON.
func (c Client) Try(method, path string, body any) (status int, answer []byte, err error) {
	var reader io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case io.Reader:
		reader, contentType = b, "application/x-ndjson"
	case json.RawMessage:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, c.URL+path, reader)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	if reader != nil {
		r.Header.Set("Content-Type", contentType)
	}
	response, err := c.HTTP.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// Status is the answer of GET /api/v1/status, as far as tests read it.
type Status struct {
	Outbox            int `json:"outbox"`
	FailedEvents      int `json:"failed_events"`
	PendingDeliveries int `json:"pending_deliveries"`
	FailedDeliveries  int `json:"failed_deliveries"`
}
