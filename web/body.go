package web

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed91453169/tocsin/web/input"
)

const (
	maxJSON     = 1 << 20          // bytes of a JSON body, but for
	maxLarge    = 32 << 20         // those of observations, and of exceptions, whose long texts are cut
	bodyPause   = 30 * time.Second // how long a body may stand still
	jsonTime    = 2 * time.Minute  // for all of a JSON body
	roomTime    = 30 * time.Second // how long a large body waits for others that are held
	maxLeftOver = 64 << 20         // bytes, and
	leftTime    = 5 * time.Second  // time, that are read and thrown away after an answer
)

var (
	errBodyTooLarge  = errors.New("the body is larger than 1 MiB")
	errLargeTooLarge = errors.New("the body is larger than 32 MiB")
	errNoRoom        = errors.New("other large bodies are held")
)

// requestBody is the body of a request with our limits instead of the server's: no length for a stream of lines, but an
// end to waiting for somebody who sends nothing.
type requestBody struct {
	body     io.ReadCloser
	control  *http.ResponseController
	most     int64 // bytes; 0: any number
	read     int64
	length   int64     // as announced; -1: not
	asks     bool      // with "Expect: 100-continue": the client sends nothing before the first read
	until    time.Time // for all of it; zero: any time
	deadline time.Time // that is set
	ended    bool
	room     func() (release func(), err error) // waits for room for a large body; nil: it may not be large
	release  func()                             // ends the use of that room; nil: it is small so far
}

// limitBody puts our limits on the body of a request.
func limitBody(w http.ResponseWriter, r *http.Request) *requestBody {
	return &requestBody{
		body: r.Body, control: http.NewResponseController(w), most: maxJSON, length: r.ContentLength,
		asks:  r.Header.Get("Expect") != "",
		until: time.Now().Add(jsonTime),
	}
}

// takeLarge lets the body be one of observations or an exception: larger, where there is room for it, or as lines of
// any number.
func (b *requestBody) takeLarge(ctx context.Context, media string, room *semaphore.Weighted) {
	b.most = maxLarge
	if media == mediaNDJSON {
		b.most, b.until = 0, time.Time{}
		return
	}
	b.room = func() (func(), error) {
		size := int64(maxLarge) // of a body that does not say
		if b.length > 0 {
			size = min(b.length, maxLarge)
		}
		ctx, cancel := context.WithTimeout(ctx, roomTime)
		defer cancel()
		if err := room.Acquire(ctx, size); err != nil {
			return nil, errNoRoom
		}
		return func() { room.Release(size) }, nil
	}
}

// isLarge reports whether more than maxJSON is known of the body.
func (b *requestBody) isLarge() bool { return max(b.length, b.read) > maxJSON }

// done ends the use of the room that the body took; its handler has ended.
func (b *requestBody) done() {
	if b.release != nil {
		b.release()
		b.release = nil
	}
}

// tooLarge is the error of a body that is larger than it may be.
func (b *requestBody) tooLarge() error {
	if b.most == maxLarge {
		return errLargeTooLarge
	}
	return errBodyTooLarge
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.most > 0 && (b.length > b.most || b.read > b.most) {
		// Also before the first byte, so that a client with "Expect: 100-continue" sends none.
		return 0, b.tooLarge()
	}
	if b.room != nil && b.release == nil && b.isLarge() {
		began := time.Now()
		var err error
		if b.release, err = b.room(); err != nil {
			b.room = func() (func(), error) { return nil, err } // it waits no second time
			return 0, err
		}
		b.until = b.until.Add(time.Since(began))
	}
	b.extend(bodyPause)
	n, err := b.body.Read(p)
	b.read += int64(n)
	if err == io.EOF {
		b.end()
	}
	if b.most > 0 && b.read > b.most {
		return 0, b.tooLarge()
	}
	return n, err
}

// Close implements io.Closer.
func (b *requestBody) Close() error { return b.body.Close() }

// extend gives the next bytes some time; that costs a system call, so not for every read.
func (b *requestBody) extend(pause time.Duration) {
	now := time.Now()
	if b.deadline.Sub(now) > pause-time.Second {
		return
	}
	b.deadline = now.Add(pause)
	if !b.until.IsZero() && b.until.Before(b.deadline) {
		b.deadline = b.until
	}
	_ = b.control.SetReadDeadline(b.deadline) // a test's recorder has none
}

// end takes the deadline away: it would end the request while its handler still works.
func (b *requestBody) end() {
	b.ended = true
	_ = b.control.SetReadDeadline(time.Time{})
}

// letAnswerFirst lets the answer go out while the body still comes, instead of waiting for it: see finish.
func (b *requestBody) letAnswerFirst() {
	if b.length != 0 {
		_ = b.control.EnableFullDuplex() // a test's recorder has none
	}
}

// comes reports whether something of the body is still to come.
func (b *requestBody) comes() bool { return !b.ended && b.length != 0 && (!b.asks || b.read > 0) }

// finish is called after the answer was written. Closing a connection while its client still sends destroys the answer
// on its way; so what is left is read for a while.
func (b *requestBody) finish() {
	if !b.comes() {
		return
	}
	_ = b.control.Flush()
	b.most, b.room, b.deadline, b.until = 0, nil, time.Time{}, time.Now().Add(leftTime)
	_, _ = io.CopyN(io.Discard, b, maxLeftOver)
}

// abandon is finish for a caller who is not known: nothing is read for it. The server looks for the end of the body by
// itself before it closes the connection; that ends soon.
func (b *requestBody) abandon() {
	if b.comes() {
		b.until = time.Now().Add(leftTime)
		b.extend(leftTime)
	}
}

// mediaType is the Content-Type of a request without its parameters.
func mediaType(r *http.Request) string {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return "compressed" // which we do not read
	}
	text := r.Header.Get("Content-Type")
	if text == "" {
		return ""
	}
	t, _, err := mime.ParseMediaType(text)
	if err != nil {
		return "unknown"
	}
	return t
}

func isJSON(media string) bool {
	return media == "" || media == "application/json" ||
		strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

func wrongMediaType(known string) *problem {
	return newProblem(http.StatusUnsupportedMediaType,
		"The body must be "+known+", not compressed, and the header Content-Type must say so.")
}

// readJSON reads the JSON object of a request into the fields of v, see input.ReadJSON.
func readJSON[T any](ctx context.Context, v *T) error {
	faults, err := readJSONFaults(ctx, v)
	if err == nil && faults != nil {
		return invalid(faults...)
	}
	return err
}

// readJSONFaults is readJSON for calls that find more faults next to what is stored, and answer all of them at once.
func readJSONFaults[T any](ctx context.Context, v *T) (input.Faults, error) {
	r := exchangeOf(ctx).r
	if !isJSON(mediaType(r)) {
		return nil, wrongMediaType("application/json")
	}
	return input.ReadJSON(r.Body, v)
}

// readOptionalJSON is readJSON for a body that may be left out.
func readOptionalJSON[T any](ctx context.Context, v *T) error {
	r := exchangeOf(ctx).r
	buffered := bufio.NewReader(r.Body)
	if _, err := buffered.Peek(1); errors.Is(err, io.EOF) {
		return nil
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{buffered, r.Body}
	return readJSON(ctx, v)
}

// brokenJSON is the problem where JSON is broken, or did not come as it should: what is wrong and where, never what
// stands there.
func brokenJSON(err *input.SyntaxError) *problem {
	if p := unreadable(err); p != nil {
		return p
	}
	detail := "The JSON is broken: " + err.Reason + ", at byte " + strconv.FormatInt(err.Offset, 10) + "."
	return newProblem(http.StatusBadRequest, detail)
}

// unreadable is the problem where the body did not come as it should; nil where it did.
func unreadable(err error) *problem {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errLargeTooLarge):
		return newProblem(http.StatusRequestEntityTooLarge, "The body is larger than 32 MiB: send less at once.")
	case errors.Is(err, errBodyTooLarge), errors.As(err, &tooLarge):
		return newProblem(http.StatusRequestEntityTooLarge, "The body is larger than 1 MiB: send less at once.")
	case errors.Is(err, errNoRoom):
		return tooMany(5, "Other large bodies are being stored: send it again in a moment, or less at once.")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, "The body did not come in time.")
	}
	return nil
}
