// Package secobserve keeps Tocsin in step with a running SecObserve, which it reads through its REST API and never
// changes. What it reads it stores through the acceptance of events, as all other doors do. It evaluates nothing and
// sends no message.
package secobserve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed91453169/tocsin/internal/tracing"
)

const (
	// tries is how often a request is sent that gets no answer, or one that asks for patience.
	tries = 4
	// longestPause bounds what SecObserve may ask for with Retry-After.
	longestPause = time.Minute
	// readings is how often a list is read whose pages do not fit together, because rows come and go meanwhile.
	readings = 3
)

// Client reads the REST API of a SecObserve. It is safe for concurrent use.
type Client struct {
	address  string // without a slash at its end
	token    string
	http     *http.Client
	requests atomic.Int64
	// pause waits between two tries; it returns false where ctx ended.
	pause func(ctx context.Context, d time.Duration) bool
}

// NewClient returns a client for the SecObserve at an address, whose API is below /api/ there. Requests go through
// client, which must follow no redirect.
func NewClient(address, token string, client *http.Client) *Client {
	return &Client{address: strings.TrimRight(address, "/"), token: token, http: client, pause: pause}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Requests returns how many requests the client has sent.
func (c *Client) Requests() int64 { return c.requests.Load() }

// get sends a request until an answer comes, and has read take the body of a success. read may be called several
// times. The error is *Error, or that of ctx.
func (c *Client) get(ctx context.Context, path string, query url.Values, read func(io.Reader) error) error {
	for try := 1; ; try++ {
		wait, err := c.try(ctx, path, query, read)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil || try == tries || !isTemporary(err) {
			return err
		}
		if wait == 0 {
			wait = time.Second << try / 2
			wait += rand.N(wait) // #nosec G404 -- jitter
		}
		if !c.pause(ctx, min(wait, longestPause)) {
			return ctx.Err()
		}
	}
}

// try sends a request once, in a span; wait is what SecObserve asks to wait before the next one.
func (c *Client) try(ctx context.Context, path string, query url.Values, read func(io.Reader) error) (
	wait time.Duration, err error,
) {
	ctx, span := tracing.Start(ctx, "GET "+idPattern.ReplaceAllString(path, "{id}"), trace.SpanKindClient)
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	address := c.address + "/api/" + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, &Error{Kind: Malformed, Path: path, detail: "the address cannot be used"}
	}
	r.Header.Set("Authorization", "APIToken "+c.token)
	r.Header.Set("Accept", "application/json")
	c.requests.Add(1)
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, &Error{Kind: Unavailable, Path: path, detail: withoutURL(err)}
	}
	defer answer.Body.Close()
	span.SetAttributes(attribute.Int("http.response.status_code", answer.StatusCode))
	if answer.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, answer.Body, 64<<10) // so that the connection is used again
		return retryAfter(answer.Header), &Error{Kind: kindOf(answer.StatusCode), Status: answer.StatusCode, Path: path}
	}
	body := &countedBody{r: answer.Body}
	err = read(body)
	var e *Error
	switch {
	case err == nil:
		return 0, nil
	case body.err != nil:
		return 0, &Error{Kind: Unavailable, Path: path, detail: "the connection ended amid the answer"}
	case errors.As(err, &e):
		e.Path = path
		return 0, e
	}
	return 0, &Error{Kind: Malformed, Path: path, detail: "the answer is not the JSON that SecObserve sends"}
}

// idPattern finds an id in a path.
var idPattern = regexp.MustCompile(`[0-9]+`)

// countedBody remembers why it could not be read to its end.
type countedBody struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// withoutURL is the text of an error of net/http without the address, which the operator knows.
func withoutURL(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, io.EOF) {
		return "the connection ended without an answer"
	}
	return err.Error()
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds)*time.Second + time.Millisecond
}

// lenient reads JSON as SecObserve writes it: fields that are not known here are passed over.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// row is an object of the API. missing names a field that it needs and does not have; empty: none.
type row interface {
	missing() string
}

// one reads a single object.
func one[T any, P interface {
	*T
	row
}](ctx context.Context, c *Client, path string) (*T, error) {
	var out *T
	err := c.get(ctx, path, nil, func(body io.Reader) error {
		out = new(T)
		d := jsontext.NewDecoder(body, lenient...)
		if err := readRow[T, P](d, out); err != nil {
			return err
		}
		return atEnd(d)
	})
	return out, err
}

func readRow[T any, P interface {
	*T
	row
}](d *jsontext.Decoder, to *T) error {
	if err := json.UnmarshalDecode(d, to); err != nil {
		return err
	}
	if field := P(to).missing(); field != "" {
		return &Error{Kind: Malformed, detail: fmt.Sprintf("there is no field %q, which SecObserve %s and newer have", field,
			oldest)}
	}
	return nil
}

// atEnd reports data behind the end of a JSON text.
func atEnd(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return errNotAlone
	}
	return nil
}

var errNotAlone = errors.New("data behind the JSON text")

// page reads one page of a list, counted from 1, and returns its rows and the count of all. A page that has not as
// many rows as it should is an error of the kind Incomplete. SecObserve reads the count and the page one after the
// other.
func page[T any, P interface {
	*T
	row
}](ctx context.Context, c *Client, path string, query url.Values, number, size int) (rows []T, count int, err error) {
	q := url.Values{}
	maps.Copy(q, query)
	q.Set("page", strconv.Itoa(number))
	q.Set("page_size", strconv.Itoa(size))
	for reading := 1; ; reading++ {
		err = c.get(ctx, path, q, func(body io.Reader) (err error) {
			rows, count, err = readPage[T, P](body)
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		if len(rows) == max(0, min(size, count-(number-1)*size)) {
			return rows, count, nil
		}
		if reading == readings {
			return nil, 0, &Error{Kind: Incomplete, Path: path, detail: fmt.Sprintf(
				"a page has %d rows where %d are counted", len(rows), max(0, min(size, count-(number-1)*size)))}
		}
	}
}

// readPage reads {"count": …, "results": […]}.
func readPage[T any, P interface {
	*T
	row
}](body io.Reader) (rows []T, count int, err error) {
	d := jsontext.NewDecoder(body, lenient...)
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, 0, errors.Join(err, errNoPage)
	}
	count = -1
	found := false
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, 0, err
		}
		switch name.String() {
		case "count":
			err = json.UnmarshalDecode(d, &count)
		case "results":
			found = true
			rows, err = readRows[T, P](d)
		default:
			err = d.SkipValue()
		}
		if err != nil {
			return nil, 0, err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, 0, err
	}
	if count < 0 || !found {
		return nil, 0, errNoPage
	}
	return rows, count, atEnd(d)
}

var errNoPage = errors.New("no page of a list")

func readRows[T any, P interface {
	*T
	row
}](d *jsontext.Decoder) (rows []T, err error) {
	if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
		return nil, errors.Join(err, errNoPage)
	}
	for d.PeekKind() == '{' {
		rows = append(rows, *new(T))
		if err := readRow[T, P](d, &rows[len(rows)-1]); err != nil {
			return nil, err
		}
	}
	t, err := d.ReadToken()
	if err == nil && t.Kind() != ']' {
		err = errNoPage
	}
	return rows, err
}

// identified is a row with an id of its own.
type identified interface {
	row
	identity() int64
}

// all reads a whole list, by id. Rows that come and go between two pages make it read the list again.
func all[T any, P interface {
	*T
	identified
}](ctx context.Context, c *Client, path string, query url.Values, size int) ([]T, error) {
	for reading := 1; ; reading++ {
		list, whole, err := allOnce[T, P](ctx, c, path, query, size)
		if err != nil || whole {
			return list, err
		}
		if reading == readings {
			return nil, &Error{Kind: Incomplete, Path: path, detail: "the list changes as fast as it is read"}
		}
	}
}

func allOnce[T any, P interface {
	*T
	identified
}](ctx context.Context, c *Client, path string, query url.Values, size int) (list []T, whole bool, err error) {
	seen := map[int64]bool{}
	for number := 1; ; number++ {
		rows, count, err := page[T, P](ctx, c, path, query, number, size)
		if number > 1 && IsKind(err, Missing) { // the end, where rows went
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		for i := range rows {
			if id := P(&rows[i]).identity(); !seen[id] {
				seen[id] = true
				list = append(list, rows[i])
			}
		}
		if number*size >= count {
			return list, len(list) == count, nil
		}
	}
}
