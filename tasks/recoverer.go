package tasks

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// reportTime is how long an answer waits at most until its exception is accepted.
const reportTime = 2 * time.Second

// Recoverer is net/http middleware: a panic, or an answer with a status of 500 or above, becomes an exception event
// before the answer goes out; the answer waits for it two seconds at most. report passes the event on. It may be
// (*Client).Enqueue itself, a function that opens a transaction for (*Outbox).EnqueueTx, or one that calls POST
// /api/v1/exceptions. The answer goes out whatever report returns, so report logs its own errors. The event names
// method and route of the request, and holds no header and no body. Wrap the mux as a whole: the route is the one that
// the mux finds.
func Recoverer(report func(ctx context.Context, t *Task) error) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x := &watchedResponse{ResponseWriter: w, request: r, report: report}
			defer func() {
				p := recover()
				if p == nil {
					return
				}
				if p == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http compares it so, too
					panic(p)
				}
				class, message := classOf(p)
				x.reportException(class, message, stack())
				if x.wrote {
					panic(http.ErrAbortHandler) // half an answer must not look whole
				}
				http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			}()
			next.ServeHTTP(x, r)
		})
	}
}

// watchedResponse reports an answer with a status of 500 or above.
type watchedResponse struct {
	http.ResponseWriter
	request *http.Request
	report  func(context.Context, *Task) error
	wrote   bool // the answer has begun, or the connection was taken over
}

// WriteHeader implements http.ResponseWriter.
func (x *watchedResponse) WriteHeader(status int) {
	if status >= 500 && !x.wrote {
		x.reportException(fmt.Sprintf("HTTP %d", status), http.StatusText(status), "")
	}
	if status >= 200 || status == http.StatusSwitchingProtocols { // any other below 200 precedes the answer
		x.wrote = true
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (x *watchedResponse) Write(b []byte) (int, error) {
	x.wrote = true
	return x.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (x *watchedResponse) Flush() {
	x.wrote = true
	_ = http.NewResponseController(x.ResponseWriter).Flush() // where it cannot be flushed there is nothing to do
}

// Hijack implements http.Hijacker, which libraries for WebSocket ask for by name.
func (x *watchedResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err == nil {
		x.wrote = true
	}
	return conn, buffers, err //nolint:wrapcheck // as it is
}

// Unwrap returns the http.ResponseWriter below, for http.ResponseController.
func (x *watchedResponse) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// reportException passes an exception on, and returns after reportTime even where report does not.
func (x *watchedResponse) reportException(class, message, trace string) {
	route := x.request.Pattern // of http.ServeMux; it names no ids, and may begin with the method
	if _, path, found := strings.Cut(route, " "); found {
		route = path
	}
	if route == "" {
		route = x.request.URL.Path
	}
	t, err := NewException(ExceptionInfo{
		Class: class, Message: message, Trace: trace, Function: x.request.Method + " " + route,
	})
	if err != nil {
		return // there is always a class
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.request.Context()), reportTime)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		defer func() { _ = recover() }() // a fault in reporting must not end the program
		_ = x.report(ctx, t)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// classOf returns class and message of a value that was passed to panic.
func classOf(p any) (class, message string) {
	if err, ok := p.(error); ok {
		return strings.TrimPrefix(fmt.Sprintf("%T", err), "*"), fmt.Sprint(err) // fmt recovers an Error method that panics
	}
	return "panic", fmt.Sprint(p)
}

// stack returns the stack of the panic, without the frames that recover it.
func stack() string {
	text := string(debug.Stack())
	if _, after, found := strings.Cut(text, "panic("); found {
		if _, rest, found := strings.Cut(after, "\n\t"); found {
			if _, frames, found := strings.Cut(rest, "\n"); found {
				return frames
			}
		}
	}
	return text
}
