package demo

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Observations of the sample that the story follows.
const (
	springShell = 120 // Critical, in spring
	muslLibc    = 6   // Critical, in alpine
	shell       = 100 // High, in photon
	firstOwnID  = 100_000
)

const (
	// storm is how often the same exception happens at once.
	storm = 25
	// silence is how long it is held back; silenceLater from then on.
	silence, silenceLater = 5 * time.Second, time.Minute
)

// story reports events and remembers the last state of each observation.
type story struct {
	api      *client
	products []product
	now      map[int64]observation // as last reported
	ids      []int64               // of now, sorted
	gates    map[int64]bool
	count    int // events of next
}

func newStory(api *client, products []product, observations []observation) *story {
	s := &story{api: api, products: products, now: map[int64]observation{}, gates: map[int64]bool{}}
	for _, o := range observations {
		if strings.HasPrefix(o.Title, "CVE-") {
			o.VulnerabilityID = o.Title
		}
		s.now[o.ID] = o
	}
	s.ids = slices.Sorted(maps.Keys(s.now))
	return s
}

// everyKind shows each kind of message: single notifications first, then an import that becomes digests, then what can
// happen to an observation, to a gate and to Tocsin's web tier.
func (s *story) everyKind(ctx context.Context) error {
	for range storm {
		if err := s.exception(ctx); err != nil {
			return err
		}
	}
	calm := time.Now().Add(silence)
	for _, step := range []func(context.Context) error{
		s.change(springShell, func(*observation) {}),
		s.change(muslLibc, func(*observation) {}),
		s.importAll,
		s.change(springShell, func(o *observation) { o.Priority = new(5) }),
		s.change(springShell, func(o *observation) { o.Priority = new(1) }),
		s.change(springShell, func(o *observation) { o.Status = "Affected" }),
		s.raise(images),
		s.raise(repositories),
		s.change(shell, func(o *observation) { o.Severity = "Critical" }),
		s.change(muslLibc, func(o *observation) { o.Status = "Resolved" }),
		s.gate(spring, false),
		s.gate(helm, false),
		s.gate(spring, true),
		s.gate(secrets, true),
		s.task,
		s.test,
		func(ctx context.Context) error { return pause(ctx, time.Until(calm)) },
		s.exception, // which says how many were held back
		func(ctx context.Context) error {
			return s.api.send(ctx, http.MethodPatch, "/settings", object{"exception_rate_limit": int(silenceLater.Seconds())})
		},
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := s.api.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// next reports the next event of an endless cycle.
func (s *story) next(ctx context.Context) error {
	s.count++
	critical := s.find(func(o observation) bool { return o.Severity == "Critical" && o.Status == "Open" })
	affected := s.find(func(o observation) bool { return o.Severity == "Critical" && o.Status == "Affected" })
	resolved := s.find(func(o observation) bool { return o.Severity == "Critical" && o.Status == "Resolved" })
	steps := []func(context.Context) error{
		s.appear(critical),
		s.change(critical, func(o *observation) { o.Status = "Affected" }),
		s.gate(spring, !s.gates[spring]),
		s.change(affected, func(o *observation) { o.Priority = new(1 + s.count%9) }),
		s.raise(images),
		s.exception,
		s.change(affected, func(o *observation) { o.Status = "Resolved" }),
		s.gate(helm, !s.gates[helm]),
		s.raise(repositories),
		s.change(resolved, func(o *observation) { o.Status = "Open" }),
		s.task,
	}
	return steps[s.count%len(steps)](ctx)
}

// find returns the id of one that fits, a different one at every event; 0 where there is none.
func (s *story) find(fits func(observation) bool) int64 {
	start := s.count * 31 % len(s.ids)
	for _, id := range slices.Concat(s.ids[start:], s.ids[:start]) {
		if fits(s.now[id]) {
			return id
		}
	}
	return 0
}

// change reports an observation as changed by with; nothing for id 0.
func (s *story) change(id int64, with func(*observation)) func(context.Context) error {
	return func(ctx context.Context) error {
		o, known := s.now[id]
		if !known {
			return nil
		}
		with(&o)
		err := s.api.send(ctx, http.MethodPost, "/observations", object{"observations": []observation{o}})
		if err == nil {
			s.now[id] = o
		}
		return err
	}
}

// raise makes a High observation of a group Critical.
func (s *story) raise(group int64) func(context.Context) error {
	id := s.find(func(o observation) bool {
		return o.Severity == "High" && o.Status == "Open" && s.groupOf(o.ProductID) == group
	})
	return s.change(id, func(o *observation) { o.Severity = "Critical" })
}

func (s *story) groupOf(productID int64) int64 {
	for _, p := range s.products {
		if p.ID == productID {
			return p.GroupID
		}
	}
	return 0
}

// appear finds what another product has in one that did not have it yet.
func (s *story) appear(like int64) func(context.Context) error {
	return func(ctx context.Context) error {
		o, known := s.now[like]
		if !known {
			return nil
		}
		p := s.products[s.count*7%len(s.products)]
		o.ID, o.ProductID, o.Origin = firstOwnID+int64(s.count), p.ID, nil
		s.now[o.ID] = o
		s.ids = append(s.ids, o.ID)
		return s.change(o.ID, func(*observation) {})(ctx)
	}
}

func (s *story) importAll(ctx context.Context) error {
	list := make([]observation, 0, len(s.ids))
	for _, id := range s.ids {
		list = append(list, s.now[id])
	}
	return s.api.sendAll(ctx, list)
}

func (s *story) gate(productID int64, passed bool) func(context.Context) error {
	return func(ctx context.Context) error {
		err := s.api.send(ctx, http.MethodPut, fmt.Sprintf("/products/%d/security-gate", productID), object{"passed": passed})
		if err == nil {
			s.gates[productID] = passed
		}
		return err
	}
}

func (s *story) exception(ctx context.Context) error {
	return s.api.send(ctx, http.MethodPost, "/exceptions", object{
		"class": "KeyError", "message": "'branch'", "user": userName, "function": "GET /api/products/{id}/branches",
		"trace": `Traceback (most recent call last):
  File "application/core/views.py", line 118, in list
    branch = request.query["branch"]
             ~~~~~~~~~~~~~^^^^^^^^^^
KeyError: 'branch'`,
	})
}

func (s *story) task(ctx context.Context) error {
	return s.api.send(ctx, http.MethodPost, "/task-exceptions", object{
		"function": "import_observations", "class": "ValueError",
		"message": "line 12 of report.json is not a finding", "product_id": spring,
		"arguments": object{"file": "report.json", "branch": "main", "api_token": "only-a-sample"},
		"trace": `Traceback (most recent call last):
  File "application/import_observations/tasks.py", line 41, in import_observations
    findings = [parser.read(line) for line in report]
  File "application/import_observations/parser.py", line 77, in read
    raise ValueError(f"line {self.line} of {self.name} is not a finding")
ValueError: line 12 of report.json is not a finding`,
	})
}

func (s *story) test(ctx context.Context) error {
	return s.api.send(ctx, http.MethodPost, fmt.Sprintf("/products/%d/test-notification", spring), object{})
}
