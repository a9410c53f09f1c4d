package main

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

	"github.com/seed91453169/tocsin/tasks"
)

// load counts what was told.
type load struct {
	repeated                             atomic.Int64 // calls that had to be made again
	observations, gates, faults, imports atomic.Int64
	mu                                   sync.Mutex
	exceptions                           map[string]*occurrences // by class
}

// occurrences are how often an exception was told: accepted, and tried without an answer that says so.
type occurrences struct{ accepted, unanswered int }

// request is the call as HTTP; body is made anew each time.
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
		text, _ := json.Marshal(map[string][]tasks.Observation{"observations": c.observations})
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

// tell makes all calls of the plan, those of a producer one after the other.
func (tt *torture) tell() {
	tt.load.exceptions = map[string]*occurrences{}
	var all sync.WaitGroup
	for i, calls := range tt.plan.told {
		all.Go(func() {
			for _, c := range calls {
				next := time.Now().Add(pace)
				method, path, body := c.request()
				unanswered, ok := tt.repeat(i, method, path, body)
				tt.load.count(c, unanswered)
				if !ok {
					return
				}
				tt.accepted.Add(1)
				time.Sleep(time.Until(next)) //nolint:forbidigo // it sets the pace
			}
		})
	}
	all.Wait()
}

// repeat makes a call until it is accepted, at the web process of the producer or, where that cannot be reached, at the other
// one. It returns how many tries may have been accepted beside the last one; false: the call is refused.
func (tt *torture) repeat(producer int, method, path string, body any) (unanswered int, ok bool) {
	webs := tt.slots["web"]
	for try := 0; ; try++ {
		text := body
		if s, lines := body.(string); lines {
			text = io.Reader(strings.NewReader(s))
		}
		status, answer, err := tt.door(webs[(producer+try)%len(webs)]).try(method, path, text)
		switch {
		case err == nil && status/100 == 2:
			return unanswered, true
		case err == nil && status != http.StatusServiceUnavailable:
			tt.t.Errorf("%s %s: %d %s", method, path, status, answer)
			return unanswered, false
		}
		unanswered++
		tt.load.repeated.Add(1)
		// A statement of the try before may still be under way: it must not come after what is told next.
		time.Sleep(200 * time.Millisecond) //nolint:forbidigo // see above
	}
}

// count notes an accepted call.
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
