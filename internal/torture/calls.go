package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
)

// load counts accepted calls.
type load struct {
	repeated                             atomic.Int64 // calls that were not accepted at once
	observations, gates, faults, imports atomic.Int64
	mu                                   sync.Mutex
	exceptions                           map[string]*occurrences // by class
}

// occurrences count the reports of an exception: accepted, and without an answer, which may have been accepted too.
type occurrences struct{ accepted, unanswered int }

// request returns the call as HTTP.
func (c call) request() (method, path string, body any) {
	switch {
	case c.lines:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		for _, o := range c.observations {
			_ = e.Encode(o) // into memory
		}
		return http.MethodPost, "/api/v1/observations", b.String()
	case c.observations != nil:
		text, _ := json.Marshal(map[string][]dbmodel.Observation{"observations": c.observations})
		return http.MethodPost, "/api/v1/observations", json.RawMessage(text)
	case c.evaluate != 0:
		return http.MethodPost, fmt.Sprintf("/api/v1/observations/%d/evaluate", c.evaluate), nil
	case c.gate != 0:
		return http.MethodPut, fmt.Sprintf("/api/v1/products/%d/security-gate", c.gate), object{"passed": c.passed}
	case c.task:
		return http.MethodPost, "/api/v1/task-exceptions", c.exception
	}
	return http.MethodPost, "/api/v1/exceptions", c.exception
}

// produce makes all calls of the plan, those of one producer one after the other.
func (r *run) produce() {
	var all sync.WaitGroup
	for i, calls := range r.plan.calls {
		all.Go(func() {
			for _, c := range calls {
				next := time.Now().Add(pace)
				method, path, body := c.request()
				unanswered, ok := r.repeat(i, method, path, body)
				r.load.count(c, unanswered)
				if !ok {
					return
				}
				r.accepted.Add(1)
				time.Sleep(time.Until(next)) //nolint:forbidigo // it sets the pace
			}
		})
	}
	all.Wait()
}

// repeat makes a call until it is accepted, alternating between the web processes. It returns how many tries without an
// answer may have been accepted too; ok is false where the call is refused.
func (r *run) repeat(producer int, method, path string, body any) (unanswered int, ok bool) {
	webs := r.slots["web"]
	for try := 0; ; try++ {
		text := body
		if s, lines := body.(string); lines {
			text = io.Reader(strings.NewReader(s))
		}
		status, answer, err := r.client(webs[(producer+try)%len(webs)]).Try(method, path, text)
		switch {
		case err == nil && status/100 == 2:
			return unanswered, true
		case err == nil && status != http.StatusServiceUnavailable:
			r.t.Errorf("%s %s: %d %s", method, path, status, answer)
			return unanswered, false
		}
		unanswered++
		r.load.repeated.Add(1)
		// A statement of the last try may still run: it must not end after the next call.
		time.Sleep(200 * time.Millisecond) //nolint:forbidigo // see above
	}
}

// count counts an accepted call.
func (l *load) count(c call, unanswered int) {
	switch {
	case c.observations != nil:
		l.observations.Add(int64(len(c.observations)))
		if c.lines {
			l.imports.Add(1)
		}
	case c.gate != 0:
		l.gates.Add(1)
	case c.exception != nil:
		l.faults.Add(1)
		l.mu.Lock()
		defer l.mu.Unlock()
		class, _ := c.exception["class"].(string)
		o := l.exceptions[class]
		if o == nil {
			o = new(occurrences)
			l.exceptions[class] = o
		}
		o.accepted++
		o.unanswered += unanswered
	}
}
