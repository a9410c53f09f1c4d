package email

import (
	"bytes"
	"cmp"
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
	mailgunName = "Mailgun"
	mailgunUser = "api"
	// newDomainTime is how long it may take until all of Mailgun's servers know a new domain.
	newDomainTime = 15 * time.Minute
)

// Mailgun sends mail through the HTTP interface of Mailgun; it implements channel.Sender.
type Mailgun struct {
	domain string
	key    channel.Secret
	base   string
	client *http.Client
	api    *mailgun.MailgunImpl

	mu      sync.Mutex
	missing time.Time // when Mailgun began to answer that the domain does not exist; zero: it does not answer so
}

// versioned matches the path of a base that has a version, without which mailgun-go refuses to work.
var versioned = regexp.MustCompile(`/v[1-5](/|$)`)

// NewMailgun returns a sender for a domain of Mailgun. An empty base means the region United States; that of the
// European Union is https://api.eu.mailgun.net/v3. A base without a version gets /v3. A nil client means that of
// channel.NewOperatorClient without a proxy. The sender follows no redirect, whatever the client does.
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
	own.Transport = recorder{next: client.Transport}
	if client.Transport == nil {
		own.Transport = recorder{next: channel.NewOperatorClient(nil).Transport}
	}
	api := mailgun.NewMailgun(domain, apiKey.Reveal())
	api.SetAPIBase(base)
	api.SetClient(&own)
	return &Mailgun{domain: domain, key: apiKey, base: base, client: &own, api: api}
}

// Send implements channel.Sender. 400, 401, 403 and 413 are permanent, as Mailgun documents. A 404 with JSON may mean
// that the domain is too new for some of Mailgun's servers: it is temporary for a quarter of an hour.
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
	got := &answer{}
	_, _, err = g.api.Send(context.WithValue(ctx, answerKey{}, got), msg)
	if err == nil || got.status >= 200 && got.status <= 299 { // whatever the body is
		g.resetMissing()
		return nil
	}
	return g.failure(err, got)
}

// failure makes an *Error of an error of mailgun-go, whose text holds URLs and answers.
func (g *Mailgun) failure(err error, got *answer) error {
	var refused *mailgun.UnexpectedResponseError
	if !errors.As(err, &refused) {
		return channel.NetworkError(mailgunName, cmp.Or(got.err, err))
	}
	e := channel.StatusError(mailgunName, refused.Actual)
	e.RetryAfter = got.retryAfter
	e.TooLarge = refused.Actual == http.StatusRequestEntityTooLarge
	if refused.Actual != http.StatusNotFound {
		g.resetMissing()
		return e
	}
	if json.Valid(refused.Data) && g.stillNew(time.Now()) {
		e.Kind = channel.Temporary
	}
	e.Reason = mailgunName + " answered 404: it does not know the domain, or the address of the interface is wrong"
	return e
}

// resetMissing notes that Mailgun gave another answer than that the domain does not exist.
func (g *Mailgun) resetMissing() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.missing = time.Time{}
}

// stillNew reports whether the domain, which Mailgun does not know, may just be too new.
func (g *Mailgun) stillNew(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.missing.IsZero() {
		g.missing = now
	}
	return now.Sub(g.missing) < newDomainTime
}

// Ping asks Mailgun whether domain and key are valid; it sends nothing. A key that may only send cannot read the
// domain: for such a key Ping posts an empty message, which Mailgun refuses for its form only after it has accepted
// the key. Only a mail shows whether Mailgun sends for an address, so Ping ignores its second argument.
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
		return 0, permanent("the address of " + mailgunName + "'s interface is not a valid URL")
	}
	req.SetBasicAuth(mailgunUser, g.key.Reveal())
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, channel.NetworkError(mailgunName, err)
	}
	return resp.StatusCode, resp.Body.Close()
}

type answerKey struct{}

// answer holds what mailgun-go does not pass on: parts of an answer, or the failure to get one.
type answer struct {
	status     int
	retryAfter time.Duration
	err        error
}

// recorder fills the answer in the context of each request, and bounds the body of the response: mailgun-go reads all
// of it.
type recorder struct{ next http.RoundTripper }

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	got, ok := req.Context().Value(answerKey{}).(*answer)
	if !ok {
		got = &answer{}
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	resp, err := r.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		got.err = err
		return nil, err
	}
	got.status = resp.StatusCode
	got.retryAfter = retryAfter(resp.Header, channel.AnsweredAt(resp.Header))
	resp.Body = io.NopCloser(bytes.NewReader(channel.BeginningOf(resp.Body, cancel)))
	return resp, nil
}

// retryAfter reads Retry-After, else X-RateLimit-Reset, a time since 1970 in seconds or, where the number is too large
// for that, in milliseconds.
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
