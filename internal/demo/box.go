package demo

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// kept is how many messages stay.
const kept = 500

// Kinds of messages.
const (
	kindMail  = "mail"
	kindTeams = "teams"
	kindSlack = "slack"
)

// message is one that arrived. All texts are as they came: untrusted.
type message struct {
	ID     int
	At     time.Time
	Kind   string
	Target string // "#payments-security", "payments@example.com"

	// Of mail.
	From, Subject, Text, HTML string

	// Of chats.
	Lead    string // what stands on a lock screen
	Content []node
}

// box keeps the last messages.
type box struct {
	mu      sync.Mutex
	list    []message // oldest first
	counts  map[string]int
	lastID  int
	changed chan struct{} // closed at the next message
}

func newBox() *box { return &box{counts: map[string]int{}, changed: make(chan struct{})} }

func (b *box) add(m message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastID++
	m.ID, m.At = b.lastID, time.Now()
	b.list = append(b.list, m)
	if len(b.list) > kept {
		b.list = slices.Delete(b.list, 0, len(b.list)-kept)
	}
	b.counts[m.Kind]++
	close(b.changed)
	b.changed = make(chan struct{})
}

// last returns the newest id, 0 for none, and a channel that is closed when there is a newer one.
func (b *box) last() (int, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lastID, b.changed
}

// find lists up to limit messages of a kind (empty: of all) with ids below before (0: all), newest first, and says
// whether there are older ones. counts are all that ever arrived, by kind.
func (b *box) find(kind string, before, limit int) (list []message, older bool, counts map[string]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts = maps.Clone(b.counts)
	for _, m := range slices.Backward(b.list) {
		if kind != "" && m.Kind != kind || before > 0 && m.ID >= before {
			continue
		}
		if len(list) == limit {
			return list, true, counts
		}
		list = append(list, m)
	}
	return list, false, counts
}
