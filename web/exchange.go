package web

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/tracing"
)

// exchange is one request with its answer, as everything that handles it sees it.
type exchange struct {
	id     string // in the log, and in the header X-Request-Id of the answer
	caller *caller
	login  *dbmodel.NewSession // who logs in with this request; nil: nobody
	begun  bool                // the handler of a page was called: what fails then is not its session
	r      *http.Request
	w      *answer
	body   *requestBody
}

type exchangeKey struct{}

// requestURN begins the name that an answer gives a request, see exchange.id.
const requestURN = "urn:tocsin:request:"

// exchangeOf returns the exchange of a request's context.
func exchangeOf(ctx context.Context) *exchange {
	return ctx.Value(exchangeKey{}).(*exchange) // begin puts it there
}

const (
	// answerPause is how long a client may take for a part of an answer, answerPart bytes: who asks and reads nothing must
	// not keep a connection for ever.
	answerPause = 30 * time.Second
	answerPart  = 16 << 10
)

// answer remembers what was answered. While the body of the request still comes it keeps the answer back, see release.
type answer struct {
	http.ResponseWriter
	body     *requestBody
	status   int
	bytes    int64
	held     []byte
	holds    bool
	deadline time.Time // that is set for writing
}

// Unwrap lets http.ResponseController through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status, a.holds = status, a.body.comes()
	}
	if !a.holds {
		a.extend()
		a.ResponseWriter.WriteHeader(status)
	}
}

// extend gives what is written next its time, in place of the server's for all.
func (a *answer) extend() {
	now := time.Now()
	if a.deadline.Sub(now) > answerPause-time.Second {
		return
	}
	a.deadline = now.Add(answerPause)
	_ = a.body.control.SetWriteDeadline(a.deadline) // a test's recorder has none
}

// send writes in parts, each of which has its time.
func (a *answer) send(p []byte) (sent int, err error) {
	for {
		a.extend()
		n, err := a.ResponseWriter.Write(p[sent:min(len(p), sent+answerPart)])
		sent += n
		if err != nil || sent == len(p) {
			return sent, err
		}
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.holds {
		a.held = append(a.held, p...)
		a.bytes += int64(len(p))
		return len(p), nil
	}
	n, err := a.send(p)
	a.bytes += int64(n)
	return n, err
}

// release sends what was kept back, with its length: by that the client knows that it has all, before we have all of
// its body.
func (a *answer) release() {
	if !a.holds {
		return
	}
	a.holds = false
	a.Header().Set("Content-Length", strconv.Itoa(len(a.held)))
	a.ResponseWriter.WriteHeader(a.status)
	_, _ = a.send(a.held) // a client that has gone needs no answer
}

// begin is the outermost handler: it gives a request its id, its limits and its line in the log, and answers for a
// handler that panics. Neither a query nor a header is logged: both may hold secrets.
func (s *server) begin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		x := &exchange{id: rand.Text()[:16], body: limitBody(w, r)}
		x.w = &answer{ResponseWriter: w, body: x.body}
		ctx, span := s.startSpan(r)
		defer x.endSpan(span)
		x.r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
		x.r.Body = x.body
		h := w.Header()
		h.Set("X-Request-Id", x.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		defer s.end(x, started)
		next.ServeHTTP(x.w, x.r)
	})
}

// end answers for a handler that panicked, and writes the line in the log.
func (s *server) end(x *exchange, started time.Time) {
	x.body.done()
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler { //nolint:errorlint // it is no error in a chain
			panic(v)
		}
		s.panicked(x, v)
	}
	level := zerolog.InfoLevel
	s.observe(x.r.Pattern, x.w.status, time.Since(started))
	switch x.r.Pattern {
	case healthPattern, readyPattern, metricsPattern, staticPattern:
		level = zerolog.DebugLevel
	}
	line := s.log.WithLevel(level).Func(x.ids).Str("method", x.r.Method).Str("route", x.r.Pattern).
		Str("path", loggedPath(x.r.Pattern, x.r.URL.EscapedPath())).
		Int("status", x.w.status).Dur("duration_ms", time.Since(started)).Int64("bytes", x.w.bytes)
	if client, _, err := net.SplitHostPort(x.r.RemoteAddr); err == nil {
		line = line.Str("client", client)
	}
	if x.caller != nil {
		line = line.Str("caller", x.caller.viewer.Username)
	}
	line.Msg("request")
	x.w.release()
	x.w.extend() // for what the server still keeps of it
	if x.caller != nil {
		x.body.finish()
	} else {
		x.body.abandon()
	}
}

// loggedPath is the path of a request for the log: what stands in the pattern of its route, and numbers. Anything else
// may be a secret, such as the key of a link that ends a subscription, or a webhook that was pasted at the wrong place.
// Where the pattern stands for all that no route has, it is empty.
func loggedPath(pattern, escapedPath string) string {
	_, route, _ := strings.Cut(pattern, "/")
	if route == "" || strings.HasSuffix(route, "/") {
		return ""
	}
	wanted, segments := strings.Split(route, "/"), strings.Split(escapedPath, "/")
	segments = segments[max(len(segments)-len(wanted), 0):] // without the path of the base URL
	for i, s := range segments {
		isNumber := strings.Trim(s, "0123456789") == ""
		if strings.HasPrefix(wanted[i], "{") && (!isNumber || len(s) > longestNumber) {
			segments[i] = "…"
		}
	}
	return "/" + strings.Join(segments, "/")
}

// longestNumber is how many digits an id has at the most.
const longestNumber = 19

// ids adds to a log line which request it is about.
func (x *exchange) ids(line *zerolog.Event) {
	line.Str("request_id", x.id).Func(tracing.Log(x.r.Context()))
}

// panicked answers 500, if there is no answer yet. What was thrown may hold anything: the log gets its type and the
// stack.
func (s *server) panicked(x *exchange, v any) {
	if x.r.Context().Err() != nil {
		return // huma panics when it cannot write an answer
	}
	kind := fmt.Sprintf("%T", v)
	if err, ok := v.(interface{ RuntimeError() }); ok {
		kind = fmt.Sprint(err) // "index out of range [3] with length 3"
	}
	s.log.Error().Func(x.ids).Str("route", x.r.Pattern).Str("panic", kind).Bytes("stack", debug.Stack()).
		Msg("a request panicked")
	s.reportOwn(x, "Panic", kind, string(debug.Stack()))
	if x.w.status == 0 {
		p := newProblem(http.StatusInternalServerError, "Something went wrong here; the log says what.")
		p.Instance = requestURN + x.id
		if x.begun {
			s.showProblem(x.w, x.r, p)
		} else {
			refuse(x.w, p)
		}
	}
}
