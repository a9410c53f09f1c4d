package web

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
)

const (
	// unreadPause is how long the database is not asked after a look at the inboxes, if nobody here changed one.
	unreadPause = time.Second
	// recountPause is when the unread are counted though nothing seems to have changed: a membership may have, or an
	// import have stored notifications out of order.
	recountPause = 15 * time.Second
)

// unreadWatch counts what is unread for all streams of this process. One goroutine asks the database for whatever
// moved and counts once for each viewer, one after the other; it is there only while somebody watches.
type unreadWatch struct {
	db  *dbmodel.DB
	log zerolog.Logger

	mu       sync.Mutex
	watchers map[*unreadWatcher]struct{}
	running  bool
	hurry    chan struct{} // holds one wish to look at once
}

func newUnreadWatch(db *dbmodel.DB, log zerolog.Logger) *unreadWatch {
	return &unreadWatch{db: db, log: log, watchers: map[*unreadWatcher]struct{}{}, hurry: make(chan struct{}, 1)}
}

// unreadWatcher is one stream.
type unreadWatcher struct {
	viewer dbmodel.Viewer
	counts chan int      // the newest count that was not taken yet
	gone   chan struct{} // closed when the viewer is somebody else by now
	last   int           // -1: none yet; only the goroutine touches it
}

// watch begins to count for v until stop is called.
func (u *unreadWatch) watch(v dbmodel.Viewer) (w *unreadWatcher, stop func()) {
	w = &unreadWatcher{viewer: v, counts: make(chan int, 1), gone: make(chan struct{}), last: -1}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.watchers[w] = struct{}{}
	if !u.running {
		u.running = true
		go u.run()
	}
	u.look()
	return w, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.watchers, w)
		if len(u.watchers) == 0 {
			u.look()
		}
	}
}

// look has the inboxes looked at soon: somebody here changed one.
func (u *unreadWatch) look() {
	select {
	case u.hurry <- struct{}{}:
	default:
	}
}

// byViewer returns the watchers of each viewer; nil, and the goroutine must end, where there are none.
func (u *unreadWatch) byViewer() map[dbmodel.Viewer][]*unreadWatcher {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.watchers) == 0 {
		u.running = false
		return nil
	}
	out := make(map[dbmodel.Viewer][]*unreadWatcher)
	for w := range u.watchers {
		out[w.viewer] = append(out[w.viewer], w)
	}
	return out
}

func (u *unreadWatch) run() {
	var seen dbmodel.InboxState
	var recounted time.Time
	for {
		viewers := u.byViewer()
		if viewers == nil {
			return
		}
		began := time.Now()
		all := began.Sub(recounted) >= recountPause
		if all {
			recounted = began
		}
		state, err := u.count(viewers, seen, all)
		if err != nil {
			u.log.Warn().Err(err).Msg("count what is unread: tried again")
			recounted = time.Time{}
		}
		seen = state
		took := time.Since(began)
		<-time.After(took) // so that the database has at least half of the time for others
		wait := time.NewTimer(max(unreadPause, 3*took))
		select {
		case <-u.hurry:
		case <-wait.C:
		}
		wait.Stop()
	}
}

// count counts for those viewers whose inbox may have changed since seen, or for all, and reports the counts to their
// streams.
func (u *unreadWatch) count(
	viewers map[dbmodel.Viewer][]*unreadWatcher, seen dbmodel.InboxState, all bool,
) (dbmodel.InboxState, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ids := make([]int64, 0, len(viewers))
	for v := range viewers {
		ids = append(ids, v.UserID)
	}
	state, err := dbmodel.InboxStateOf(ctx, u.db.Reader, ids)
	if err != nil {
		return seen, err
	}
	for v, watchers := range viewers {
		now, there := state.Users[v.UserID]
		if !there {
			for _, w := range watchers {
				u.dismiss(w)
			}
			continue
		}
		changed := all || state.All != seen.All || now != seen.Users[v.UserID]
		for _, w := range watchers {
			changed = changed || w.last < 0
		}
		if !changed {
			continue
		}
		n, err := dbmodel.UnreadCount(ctx, u.db.Reader, v, 0)
		if err != nil {
			return seen, err
		}
		for _, w := range watchers {
			w.report(n)
		}
	}
	return state, nil
}

// dismiss ends the watching of somebody who is not there any more.
func (u *unreadWatch) dismiss(w *unreadWatcher) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, there := u.watchers[w]; there {
		delete(u.watchers, w)
		close(w.gone)
	}
}

// report gives the count to the stream, in place of one that it did not take yet.
func (w *unreadWatcher) report(n int) {
	if n == w.last {
		return
	}
	w.last = n
	select {
	case <-w.counts:
	default:
	}
	w.counts <- n
}
