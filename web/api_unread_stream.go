package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	// heartbeat is how often a quiet stream says that it is there: proxies end what is silent.
	heartbeat = 20 * time.Second
	// callerPause is how often a stream, or a long import, asks whether its caller may still come in.
	callerPause = 3 * time.Second
)

func (s *server) apiStreamUnread(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	leave, ok := s.streams.enter(ctx)
	if !ok {
		return nil, tooMany(5, "You follow as many streams as one user may: close one of them.")
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer leave()
		s.streamUnread(ctx)
	}}, nil
}

// streamUnread sends the count of unread notifications when it changes, until the client goes away, its token or
// session ends, or the process does.
func (s *server) streamUnread(ctx huma.Context) {
	r, plain := humago.Unwrap(ctx)
	h := plain.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would collect events
	out := &eventWriter{w: plain, control: http.NewResponseController(plain)}

	viewer := viewerOf(r.Context())
	watcher, stop := s.unread.watch(viewer)
	defer stop()
	beat, check := time.NewTicker(heartbeat), time.NewTicker(callerPause)
	defer beat.Stop()
	defer check.Stop()
	err := out.send(": this stream follows the unread notifications\n\n")
	for err == nil {
		select {
		case n := <-watcher.counts:
			err = out.send(fmt.Sprintf("event: unread\ndata: {\"count\":%d}\n\n", n))
		case <-beat.C:
			err = out.send(":\n\n")
		case <-check.C:
			// A database that does not answer ends no stream.
			if who, _, e := s.callerOf(r); e == nil && (who == nil || who.viewer != viewer) {
				return
			}
		case <-watcher.gone:
			return
		case <-s.stopping:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// eventWriter sends events at once.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (o *eventWriter) send(event string) error {
	if _, err := o.w.Write([]byte(event)); err != nil {
		return err
	}
	return o.control.Flush()
}
