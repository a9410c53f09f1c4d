package queue

import "time"

const (
	// singlesTime is how long after a single event imports expect another one.
	singlesTime = 10 * time.Second
	// longestRest bounds RestAfter: a database that is slow makes an import slow already.
	longestRest = time.Second
)

// noteSingle notes that a single event, or a delivery of one, passes here.
func (q *Queue) noteSingle() {
	now := time.Now()
	q.single.Store(&now)
}

// SinglesCome reports whether a single event, or a delivery of one, was enqueued here a moment ago. While they come,
// imports give way to them in each process that they pass: these rest between their parts, and do few things at once.
// Else the statements of an import would take all of the machine, and single events would wait for their share of it at
// each of their many steps.
func (q *Queue) SinglesCome() bool {
	last := q.single.Load()
	return last != nil && time.Since(*last) < singlesTime
}

// RestAfter returns how long an import rests after a part on which it has worked since began: half as long as that
// took, but not at all while no single events come.
func (q *Queue) RestAfter(began time.Time) time.Duration {
	if !q.SinglesCome() {
		return 0
	}
	return min(time.Since(began)/2, longestRest)
}
