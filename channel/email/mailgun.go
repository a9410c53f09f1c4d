package email

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mailgun/mailgun-go/v4"

	"github.com/seed91453169/tocsin/channel"
)

const (
	mailgunName     = "Mailgun"
	mailgunUser     = "api"
	missingDomainOK = 15 * time.Minute
)

// Mailgun sends mail through the HTTP interface of Mailgun; it implements channel.Sender.
type Mailgun struct {
	domain string
	key    channel.Secret
	base   string
	client *http.Client
	api    *mailgun.MailgunImpl

	mu      sync.Mutex
	missing time.Time // of the first of the latest answers that all said that the domain does not exist
}

// versioned is what mailgun-go asks of a base.
var versioned = regexp.MustCompile(`/v[1-5](/|$)`)

// NewMailgun returns a sender for a domain of Mailgun. An empty base is the one in the United States; that of the European
// Union is https://api.eu.mailgun.net/v3. A base without a version gets /v3. A nil client is channel.NewOperatorClient's;
// of any other the transport is used, its redirects are not followed.
func NewMailgun(domain string, apiKey channel.Secret, base string, client *http.Client) *Mailgun {
	if base = strings.TrimRight(strings.TrimSpace(base), "/"); base == "" {
		base = mailgun.APIBase
	}
	if u, err := url.Parse(base); err == nil && !versioned.MatchString(u.Path) {
		base += "/v3"
	}
	if client == nil {
		client = channel.NewOperatorClient(nil)
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Transport = listener{next: client.Transport}
	if client.Transport == nil {
		own.Transport = listener{next: channel.NewOperatorClient(nil).Transport}
	}
	api := mailgun.NewMailgun(domain, apiKey.Reveal())
	api.SetAPIBase(base)
	api.SetClient(&own)
	return &Mailgun{domain: domain, key: apiKey, base: base, client: &own, api: api}
}

// Send implements channel.Sender. 400, 401, 403 and 413 are permanent, as Mailgun's documentation asks; a 404 with JSON
// may mean a domain that is so new that not all of Mailgun knows it: it is temporary for a quarter of an hour.
func (g *Mailgun) Send(ctx context.Context, to channel.Target, m *channel.Message) error {
	l, err := compose(to, m)
	if err != nil {
		return err
	}
	msg := mailgun.NewMessage(l.from, l.subject, l.text, l.to)
	msg.SetHTML(l.html)
	msg.SetTracking(false) // links must lead to where they say
	msg.AddHeader("Message-Id", "<"+l.messageID+">")
	for _, h := range l.headers {
		msg.AddHeader(h.name, h.value)
	}
	heard := &hearing{}
	_, _, err = g.api.Send(context.WithValue(ctx, hearingKey{}, heard), msg)
	if err == nil || heard.status >= 200 && heard.status <= 299 { // whatever the body is
		g.found()
		return nil
	}
	return g.failure(err, heard)
}

// failure makes an *Error of what mailgun-go returns, whose text holds URLs and answers.
func (g *Mailgun) failure(err error, heard *hearing) error {
	var answer *mailgun.UnexpectedResponseError
	if !errors.As(err, &answer) {
		if heard.err != nil {
			err = heard.err
		}
		return channel.NetworkError(mailgunName, err)
	}
	e := channel.StatusError(mailgunName, answer.Actual)
	e.RetryAfter = heard.retryAfter
	e.TooLarge = answer.Actual == http.StatusRequestEntityTooLarge
	if answer.Actual != http.StatusNotFound {
		g.found()
		return e
	}
	if json.Valid(answer.Data) && g.stillNew(time.Now()) {
		e.Kind = channel.Temporary
	}
	e.Reason = mailgunName + " answered 404: it does not know the domain, or the address of the interface is wrong"
	return e
}

func (g *Mailgun) found() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.missing = time.Time{}
}

func (g *Mailgun) stillNew(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.missing.IsZero() {
		g.missing = now
	}
	return now.Sub(g.missing) < missingDomainOK
}

// Ping asks Mailgun whether domain and key are good; nothing is sent. A key that may do nothing but send cannot read the
// domain: for such a one Ping posts an empty message, which only a good key gets as far as being refused for its form.
// Whether it sends for an address is known only from a mail, so the second argument is not used.
func (g *Mailgun) Ping(ctx context.Context, _ string) error {
	status, err := g.call(ctx, http.MethodGet, "/domains/"+url.PathEscape(g.domain))
	if err != nil || status >= 200 && status <= 299 {
		return err
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		status, err = g.call(ctx, http.MethodPost, "/"+url.PathEscape(g.domain)+"/messages")
		if err != nil || status == http.StatusBadRequest || status >= 200 && status <= 299 {
			return err
		}
	}
	return channel.StatusError(mailgunName, status)
}

func (g *Mailgun) call(ctx context.Context, method, path string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, g.base+path, http.NoBody)
	if err != nil {
		return 0, &channel.Error{Kind: channel.Permanent, Reason: "the address of " + mailgunName + "'s interface is not a valid URL"}
	}
	req.SetBasicAuth(mailgunUser, g.key.Reveal())
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, channel.NetworkError(mailgunName, err)
	}
	return resp.StatusCode, resp.Body.Close()
}

type hearingKey struct{}

// hearing is what mailgun-go does not tell of an answer.
type hearing struct {
	status     int
	retryAfter time.Duration
	err        error
}

// listener notes of each answer what its request's context asks for, and bounds its body, which mailgun-go reads whole.
type listener struct{ next http.RoundTripper }

func (l listener) RoundTrip(req *http.Request) (*http.Response, error) {
	heard, ok := req.Context().Value(hearingKey{}).(*hearing)
	if !ok {
		heard = &hearing{}
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	resp, err := l.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		heard.err = err
		return nil, err
	}
	heard.status = resp.StatusCode
	heard.retryAfter = retryAfter(resp.Header, channel.AnsweredAt(resp.Header))
	resp.Body = io.NopCloser(bytes.NewReader(channel.BeginningOf(resp.Body, cancel)))
	return resp, nil
}

// retryAfter reads Retry-After, else X-RateLimit-Reset, a moment since 1970 that is taken as seconds or as milliseconds,
// whichever lies in our time.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if d := channel.ParseRetryAfter(h.Get("Retry-After"), now); d > 0 {
		return d
	}
	n, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64)
	switch {
	case err != nil || n <= 0:
		return 0
	case n > 1e11:
		return min(max(time.UnixMilli(n).Sub(now), 0), channel.MaxRetryAfter)
	}
	return min(max(time.Unix(n, 0).Sub(now), 0), channel.MaxRetryAfter)
}
