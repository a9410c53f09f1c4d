package torture

import (
	"io"
	"net/http"
	"strings"
	"syscall"

	"github.com/seed91453169/tocsin/internal/testenv/program"
)

// onSlot makes a fault of a function that begins it on a slot and one that ends it. Both run in the background. A slot
// whose last fault has not ended is left alone.
func onSlot(role string, begin, end func(s *slot)) func(*run, int) func() {
	return func(r *run, n int) func() {
		s := r.slots[role][n]
		if !s.mu.TryLock() {
			r.logf("· skipped: the last fault of %v has not ended", s)
			return nil
		}
		begun := make(chan struct{})
		r.background.Go(func() {
			defer close(begun)
			begin(s)
		})
		return func() {
			r.background.Go(func() {
				defer s.mu.Unlock()
				<-begun
				end(s)
			})
		}
	}
}

func kill(role string) func(*run, int) func() {
	return onSlot(role, (*slot).kill, func(s *slot) { s.launch(s.binary) })
}

func freeze(role string) func(*run, int) func() {
	return onSlot(role, func(s *slot) { s.signal(syscall.SIGSTOP) }, func(s *slot) { s.signal(syscall.SIGCONT) })
}

// freezeWorkers stops all workers, so that events accumulate.
func freezeWorkers(r *run, _ int) func() {
	var ends []func()
	for n := range r.slots["worker"] {
		if end := freeze("worker")(r, n); end != nil {
			ends = append(ends, end)
		}
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

// terminate ends a process with SIGTERM and starts it again.
func terminate(role string) func(*run, int) func() {
	return onSlot(role, func(s *slot) { s.replace(s.current) }, func(s *slot) { s.launch(s.binary) })
}

// replace terminates a process; where it left work behind, copies are possible.
func (s *slot) replace(p *process) {
	endSpan := s.run.openSpan()
	if s.terminate(p) {
		endSpan()
	}
}

// deploy starts a process of the next version beside the current one and ends the latter when the fault ends.
func deploy(role string) func(*run, int) func() {
	return onSlot(role, func(s *slot) {
		r := s.run
		if migrate, err := program.Launch(r.next, io.Discard, r.env, "migrate", "up"); err != nil {
			r.t.Error(err)
		} else {
			<-migrate.Done // it fails where the database is away; a platform would run it again
		}
		s.old = s.current
		s.launch(r.next)
	}, func(s *slot) {
		if role == "web" {
			s.run.ready(s)
		}
		s.replace(s.old)
	})
}

// otherClock replaces a process by one whose clock is wrong, from its start or from a later second on.
func otherClock(role string) func(*run, int) func() {
	steps := []string{"3600@0", "-3600@0", "40@2", "-40@2", "86400@1", "-86400@1", "7@0", "-7@0"}
	return onSlot(role, func(s *slot) {
		s.replace(s.current)
		step := steps[int(s.run.clocks.Add(1))%len(steps)]
		s.run.logf("the clock of %v is wrong by %s", s, strings.Replace(step, "@", " s from second ", 1))
		s.launch(s.run.clocked, "CLOCK_STEP="+step)
	}, func(s *slot) {
		s.replace(s.current)
		s.launch(s.run.binary)
	})
}

// digests sets digest_threshold for a while. At other times it is 0: each notification arrives alone, so that the
// copies of each can be counted.
func digests(threshold int) func(*run, int) func() {
	set := func(r *run, threshold int) {
		r.repeat(0, http.MethodPatch, "/api/v1/settings", object{"digest_threshold": threshold})
	}
	return func(r *run, _ int) func() {
		begun := make(chan struct{})
		r.background.Go(func() {
			defer close(begun)
			set(r, threshold)
		})
		return func() {
			r.background.Go(func() {
				<-begun
				set(r, 0)
			})
		}
	}
}
