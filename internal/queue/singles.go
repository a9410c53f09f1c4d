package queue

import "time"

const (
	// singlesTime is how long after a single event another one is expected.
	singlesTime = 10 * time.Second
	// longestRest bounds RestAfter: a database that is slow makes an import slow already.
	longestRest = time.Second
)

// noteSingle notes that this process enqueues a single event, or deliveries of one; whether Redis takes them does not
// matter.
func (q *Queue) noteSingle() {
	now := time.Now()
	q.lastSingle.Store(&now)
}

// SinglesCome reports whether this process enqueued a single event, or deliveries of one, within the last ten seconds.
// Then imports give way to single events in this process: they rest after each part, see RestAfter, and few of their
// drains use the database at once. Else the statements of an import would take all of the machine, and a single event
// would wait for its share of it at each of its many steps.
func (q *Queue) SinglesCome() bool {
	last := q.lastSingle.Load()
	return last != nil && time.Since(*last) < singlesTime
}

// RestAfter returns how long an import rests after a part that this process began to store or to evaluate at the time
// began: half as long as that took, at most a second, and not at all while no single events come.
func (q *Queue) RestAfter(began time.Time) time.Duration {
	if !q.SinglesCome() {
		return 0
	}
	return min(time.Since(began)/2, longestRest)
}
