package demo

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/client"
)

// Observations of the sample that the story follows.
const (
	springShell = 120 // Critical, in spring
	muslLibc    = 6   // Critical, in alpine
	shell       = 100 // High, in photon
	exploited   = 8   // Medium, in alpine
	firstOwnID  = 100_000
)

const (
	// storm is how often the same exception happens at once.
	storm = 25
	// silence is how long equal ones are suppressed; silenceLater from then on.
	silence, silenceLater = 5 * time.Second, time.Minute
)

// story reports events and remembers the last state of each observation.
type story struct {
	api      tocsin
	products []product
	now      map[int64]client.ObservationBody // as last reported
	ids      []int64                          // of now, sorted
	gates    map[int64]bool
	count    int // events of next
}

func newStory(api tocsin, products []product, observations []client.ObservationBody) *story {
	s := &story{api: api, products: products, now: map[int64]client.ObservationBody{}, gates: map[int64]bool{}}
	for _, o := range observations {
		if strings.HasPrefix(o.Title, "CVE-") {
			o.VulnerabilityID = &o.Title
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
		s.change(springShell, func(*client.ObservationBody) {}),
		s.change(muslLibc, func(*client.ObservationBody) {}),
		s.importAll,
		s.change(springShell, func(o *client.ObservationBody) { o.Priority = new(int64(5)) }),
		s.change(springShell, func(o *client.ObservationBody) { o.Priority = new(int64(1)) }),
		s.change(springShell, func(o *client.ObservationBody) { o.Status = "Affected" }),
		s.raise(images),
		s.raise(repositories),
		s.change(shell, func(o *client.ObservationBody) { o.Severity = "Critical" }),
		s.change(muslLibc, func(o *client.ObservationBody) { o.Status = "Resolved" }),
		s.change(exploited, func(o *client.ObservationBody) { o.KnownExploited = new(true) }),
		s.gate(spring, false),
		s.gate(helm, false),
		s.gate(spring, true),
		s.gate(secrets, true),
		s.task,
		s.test,
		func(ctx context.Context) error { return pause(ctx, time.Until(calm)) },
		s.exception, // which says how many were suppressed
		func(ctx context.Context) error {
			_, err := s.api.PatchSettings(ctx, client.SettingsFields{ExceptionRateLimit: new(int64(silenceLater.Seconds()))})
			return err
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
	critical := s.find(func(o client.ObservationBody) bool { return o.Severity == "Critical" && o.Status == "Open" })
	affected := s.find(func(o client.ObservationBody) bool { return o.Severity == "Critical" && o.Status == "Affected" })
	resolved := s.find(func(o client.ObservationBody) bool { return o.Severity == "Critical" && o.Status == "Resolved" })
	steps := []func(context.Context) error{
		s.appear(critical),
		s.change(critical, func(o *client.ObservationBody) { o.Status = "Affected" }),
		s.gate(spring, !s.gates[spring]),
		s.change(affected, func(o *client.ObservationBody) { o.Priority = new(int64(1 + s.count%9)) }),
		s.raise(images),
		s.exception,
		s.change(affected, func(o *client.ObservationBody) { o.Status = "Resolved" }),
		s.gate(helm, !s.gates[helm]),
		s.raise(repositories),
		s.change(resolved, func(o *client.ObservationBody) { o.Status = "Open" }),
		s.task,
	}
	return steps[s.count%len(steps)](ctx)
}

// find returns the id of one that fits, a different one at every event; 0 where there is none.
func (s *story) find(fits func(client.ObservationBody) bool) int64 {
	start := s.count * 31 % len(s.ids)
	for _, id := range slices.Concat(s.ids[start:], s.ids[:start]) {
		if fits(s.now[id]) {
			return id
		}
	}
	return 0
}

// change reports an observation as changed by with; nothing for id 0.
func (s *story) change(id int64, with func(*client.ObservationBody)) func(context.Context) error {
	return func(ctx context.Context) error {
		o, known := s.now[id]
		if !known {
			return nil
		}
		with(&o)
		_, err := s.api.PostObservations(ctx, o)
		if err == nil {
			s.now[id] = o
		}
		return err
	}
}

// raise makes a High observation of a group Critical.
func (s *story) raise(group int64) func(context.Context) error {
	id := s.find(func(o client.ObservationBody) bool {
		return o.Severity == "High" && o.Status == "Open" && s.groupOf(o.ProductID) == group
	})
	return s.change(id, func(o *client.ObservationBody) { o.Severity = "Critical" })
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
		return s.change(o.ID, func(*client.ObservationBody) {})(ctx)
	}
}

func (s *story) importAll(ctx context.Context) error {
	_, err := s.api.ImportObservations(ctx, func(yield func(client.ObservationBody) bool) {
		for _, id := range s.ids {
			if !yield(s.now[id]) {
				return
			}
		}
	}, false)
	return err
}

func (s *story) gate(productID int64, passed bool) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.api.PutSecurityGate(ctx, productID, &passed)
		if err == nil {
			s.gates[productID] = passed
		}
		return err
	}
}

func (s *story) exception(ctx context.Context) error {
	return s.api.PostException(ctx, client.ExceptionBody{
		Class: "KeyError", Message: new("'branch'"), User: new(userName),
		Function: new("GET /api/products/{id}/branches"),
		Trace: new(`Traceback (most recent call last):
  File "application/core/views.py", line 118, in list
    branch = request.query["branch"]
             ~~~~~~~~~~~~~^^^^^^^^^^
KeyError: 'branch'`),
	})
}

func (s *story) task(ctx context.Context) error {
	return s.api.PostTaskException(ctx, client.TaskExceptionBody{
		Function: new("import_observations"), Class: "ValueError",
		Message: new("line 12 of report.json is not a finding"), ProductID: new(int64(spring)),
		Arguments: &map[string]any{"file": "report.json", "branch": "main", "api_token": "only-a-sample"},
		Trace: new(`Traceback (most recent call last):
  File "application/import_observations/tasks.py", line 41, in import_observations
    findings = [parser.read(line) for line in report]
  File "application/import_observations/parser.py", line 77, in read
    raise ValueError(f"line {self.line} of {self.name} is not a finding")
ValueError: line 12 of report.json is not a finding`),
	})
}

func (s *story) test(ctx context.Context) error {
	_, err := s.api.TestProduct(ctx, spring, client.TestFields{})
	return err
}
