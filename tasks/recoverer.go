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

// tellTime is how long an answer is held back at the most until its exception is accepted.
const tellTime = 2 * time.Second

// Recoverer is net/http middleware: a panic, or an answer with a status of 500 or above, becomes an exception event before the
// answer goes out, which is held back for two seconds at the most. tell accepts the event through whichever door the web
// tier uses: (*Client).Enqueue as it is, or a function that opens a transaction for (*Outbox).EnqueueTx, or one that calls
// POST /api/v1/exceptions. What tell returns is for its own log: the answer goes out all the same. Of the request only
// method and route are told, no header and no body. Put it outside of the mux.
func Recoverer(tell func(ctx context.Context, t *Task) error) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x := &recovered{ResponseWriter: w, request: r, tell: tell}
			defer func() {
				p := recover()
				if p == nil {
					return
				}
				if p == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http compares it so, too
					panic(p)
				}
				class, message := classOf(p)
				x.report(class, message, stack())
				if x.wrote {
					panic(http.ErrAbortHandler) // half an answer must not look whole
				}
				http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			}()
			next.ServeHTTP(x, r)
		})
	}
}

// recovered watches an answer for a status of 500 or above.
type recovered struct {
	http.ResponseWriter
	request *http.Request
	tell    func(context.Context, *Task) error
	wrote   bool
}

// WriteHeader implements http.ResponseWriter.
func (x *recovered) WriteHeader(status int) {
	if status >= 500 && !x.wrote {
		x.report(fmt.Sprintf("HTTP %d", status), http.StatusText(status), "")
	}
	if status >= 200 {
		x.wrote = true
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (x *recovered) Write(b []byte) (int, error) {
	x.wrote = true
	return x.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (x *recovered) Flush() {
	x.wrote = true
	_ = http.NewResponseController(x.ResponseWriter).Flush() // where it cannot be flushed there is nothing to do
}

// Hijack implements http.Hijacker, which libraries for WebSocket ask for by name.
func (x *recovered) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err == nil {
		x.wrote = true
	}
	return conn, buffers, err //nolint:wrapcheck // as it is
}

// Unwrap lets http.ResponseController find what lies below.
func (x *recovered) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// report has the exception accepted, and returns after tellTime even where tell does not.
func (x *recovered) report(class, message, trace string) {
	route := x.request.Pattern // of http.ServeMux; it names no ids, and may begin with the method
	if _, path, found := strings.Cut(route, " "); found {
		route = path
	}
	if route == "" {
		route = x.request.URL.Path
	}
	t, err := NewException(ExceptionInfo{Class: class, Message: message, Trace: trace, Function: x.request.Method + " " + route})
	if err != nil {
		return // there is always a class
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.request.Context()), tellTime)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		defer func() { _ = recover() }() // telling must not break what it tells of
		_ = x.tell(ctx, t)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// classOf names what was panicked with.
func classOf(p any) (class, message string) {
	if err, ok := p.(error); ok {
		return strings.TrimPrefix(fmt.Sprintf("%T", err), "*"), fmt.Sprint(err) // which survives an Error method that panics
	}
	return "panic", fmt.Sprint(p)
}

// stack is where the panic came from, without the frames of recovering.
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
