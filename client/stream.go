package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
)

// ImportObservations reports any number of observations, one after the other, while observations makes them. Tocsin
// stores them in chunks: an Error says with Problem.Stored how many of the leading ones it kept. Where the call is
// refused for the moment, observations is run anew; what is stored already is unchanged then.
//
// With baseline, what matches is remembered and nothing is notified: for the first import beside findings that are
// known already.
func (c *Client) ImportObservations(
	ctx context.Context, observations iter.Seq[ObservationBody], baseline bool,
) (Accepted, error) {
	path := "/observations"
	if baseline {
		path += "?baseline=true"
	}
	var out Accepted
	err := c.repeat(ctx, func() error {
		body, lines := io.Pipe()
		written := make(chan struct{})
		go func() {
			defer close(written)
			lines.CloseWithError(writeLines(lines, observations))
		}()
		err := c.once(ctx, http.MethodPost, path, mediaNDJSON, body, &out)
		_ = body.Close() // ends writeLines where the answer came before the last line
		<-written
		return err
	})
	return out, err
}

// writeLines writes one observation a line.
func writeLines(w io.Writer, observations iter.Seq[ObservationBody]) error {
	buffer := bufio.NewWriterSize(w, 64<<10)
	encoder := json.NewEncoder(buffer)
	for o := range observations {
		if err := encoder.Encode(o); err != nil {
			return err
		}
	}
	return buffer.Flush()
}

// Unread follows how many notifications the caller has not viewed: the number at the beginning, and again whenever it
// changes. It ends with the first error; io.EOF means that Tocsin ended the stream, because it stops or because the
// token is not valid any more.
func (c *Client) Unread(ctx context.Context) iter.Seq2[int64, error] {
	const path = "/notifications/stream"
	return func(yield func(int64, error) bool) {
		response, err := c.send(ctx, http.MethodGet, path, "", nil)
		if err != nil {
			yield(0, err)
			return
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
			if !ok {
				continue // the name of the event, which is the only one, or a comment
			}
			var count Count
			if err := json.Unmarshal(data, &count); err != nil {
				yield(0, fmt.Errorf("GET %s: read an event: %w", path, err))
				return
			}
			if !yield(count.Count, nil) {
				return
			}
		}
		err = lines.Err()
		if err == nil {
			err = io.EOF
		}
		yield(0, err)
	}
}

// Origin is where a finding was made: a text, or some of the other fields.
type Origin struct {
	Text                             string
	Component, Image, File, Endpoint string
}

// originObject is an Origin that is no text.
type originObject struct {
	Component string `json:"component,omitempty"`
	Image     string `json:"image,omitempty"`
	File      string `json:"file,omitempty"`
	Endpoint  string `json:"endpoint,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (o Origin) MarshalJSON() ([]byte, error) {
	if parts := (originObject{o.Component, o.Image, o.File, o.Endpoint}); parts != (originObject{}) {
		return json.Marshal(parts)
	}
	return json.Marshal(o.Text)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *Origin) UnmarshalJSON(b []byte) error {
	*o = Origin{}
	if strings.HasPrefix(string(b), `"`) {
		return json.Unmarshal(b, &o.Text)
	}
	var parts originObject
	err := json.Unmarshal(b, &parts)
	o.Component, o.Image, o.File, o.Endpoint = parts.Component, parts.Image, parts.File, parts.Endpoint
	return err
}

// Arguments are the arguments of a background task: an object, or a text where they are too long to be kept as one.
type Arguments = json.RawMessage
