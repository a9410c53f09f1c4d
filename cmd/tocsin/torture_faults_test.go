package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// faultKind is a kind of fault, or of change, that the plan may deal.
type faultKind struct {
	thing       string // what it is done to: one fault at a time
	of          int    // how many of these things there are
	least, most int    // accepted calls until it ends
	long        bool   // only in a long run
	copies      bool   // deliveries that were under way may come twice
	begin       func(tt *torture, n int) (end func())
}

// faultKinds are all that may be done beside the manners of the receivers.
var faultKinds = map[string]faultKind{
	"redis dies":            {thing: "redis", most: 150, begin: redisDies},
	"redis is emptied":      {thing: "redis", begin: redisIsEmptied},
	"redis stands still":    {thing: "redis", least: 50, most: 300, begin: redisStandsStill},
	"redis is full":         {thing: "redis", least: 50, most: 300, begin: redisIsFull},
	"redis is cut off":      {thing: "redis", begin: func(tt *torture, _ int) func() { tt.rdProxy.cut(); return nil }},
	"redis forgets clients": {thing: "redis", begin: func(tt *torture, _ int) func() { tt.rdProxy.forget(); return nil }},
	"redis is unreachable":  {thing: "redis", least: 50, most: 300, begin: func(tt *torture, _ int) func() { return hold(tt.rdProxy) }},

	"postgres restarts":       {thing: "postgres", copies: true, begin: restart(testenv.Fast)},
	"postgres crashes":        {thing: "postgres", copies: true, begin: restart(testenv.Immediate)},
	"postgres is killed":      {thing: "postgres", copies: true, begin: postgresIsKilled},
	"postgres ends sessions":  {thing: "postgres", copies: true, begin: postgresEndsSessions},
	"postgres is cut off":     {thing: "postgres", copies: true, begin: func(tt *torture, _ int) func() { tt.pgProxy.cut(); return nil }},
	"postgres is unreachable": {thing: "postgres", least: 1, most: 50, copies: true, begin: func(tt *torture, _ int) func() { return hold(tt.pgProxy) }},
	"postgres is read-only":   {thing: "postgres", least: 1, most: 50, begin: postgresIsReadOnly},

	"web is killed":              {thing: "web", of: 2, most: 60, begin: kill("web")},
	"worker is killed":           {thing: "worker", of: 2, most: 200, copies: true, begin: kill("worker")},
	"scheduler is killed":        {thing: "scheduler", of: 2, most: 200, begin: kill("scheduler")},
	"web stands still":           {thing: "web", of: 2, least: 30, most: 200, begin: freeze("web")},
	"worker stands still":        {thing: "worker", of: 2, least: 50, most: 300, copies: true, begin: freeze("worker")},
	"scheduler stands still":     {thing: "scheduler", of: 2, least: 50, most: 600, begin: freeze("scheduler")},
	"worker stands still long":   {thing: "worker", of: 2, least: 4000, most: 6000, long: true, copies: true, begin: freeze("worker")},
	"all workers stand still":    {thing: "workers", least: 1500, most: 3000, long: true, copies: true, begin: freezeWorkers},
	"web is told to end":         {thing: "web", of: 2, begin: terminate("web")},
	"worker is told to end":      {thing: "worker", of: 2, begin: terminate("worker")},
	"scheduler is told to end":   {thing: "scheduler", of: 2, begin: terminate("scheduler")},
	"web of next version":        {thing: "web", of: 2, least: 20, most: 200, begin: deploy("web")},
	"worker of next version":     {thing: "worker", of: 2, least: 20, most: 300, begin: deploy("worker")},
	"scheduler of next version":  {thing: "scheduler", of: 2, least: 20, most: 300, begin: deploy("scheduler")},
	"web with another clock":     {thing: "web", of: 2, least: 200, most: 800, long: true, begin: otherClock("web")},
	"worker with another clock":  {thing: "worker", of: 2, least: 200, most: 800, long: true, begin: otherClock("worker")},
	"scheduler with other clock": {thing: "scheduler", of: 2, least: 200, most: 800, long: true, begin: otherClock("scheduler")},

	"digests are from 3 on":  {thing: "settings", least: 50, most: 200, begin: digests(3)},
	"digests are from 10 on": {thing: "settings", least: 50, most: 200, begin: digests(10)},
}

func redisDies(tt *torture, _ int) func() {
	tt.rd.Kill()
	if !tt.plan.aof {
		tt.losses = append(tt.losses, time.Now())
	}
	return tt.rd.Start
}

func (tt *torture) redis(do func(ctx context.Context, c *redis.Client) error) {
	o, err := redis.ParseURL(tt.rd.URL())
	if err != nil {
		tt.t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	if err := do(tt.t.Context(), c); err != nil {
		tt.t.Errorf("redis: %v", err)
	}
}

func redisIsEmptied(tt *torture, _ int) func() {
	tt.losses = append(tt.losses, time.Now())
	tt.redis(func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
	return nil
}

func redisStandsStill(tt *torture, _ int) func() {
	tt.rd.Pause()
	return tt.rd.Resume
}

func redisIsFull(tt *torture, _ int) func() {
	limit := func(to string) {
		tt.redis(func(ctx context.Context, c *redis.Client) error { return c.ConfigSet(ctx, "maxmemory", to).Err() })
	}
	limit("1")
	return func() { limit("0") }
}

// hold makes what is behind a proxy unreachable; the connections that were open are of no use afterwards.
func hold(p *proxy) func() {
	p.hold()
	return func() { p.cut(); p.release() }
}

func restart(how testenv.StopMode) func(*torture, int) func() {
	return func(tt *torture, _ int) func() { tt.pg.Restart(how); return nil }
}

func postgresIsKilled(tt *torture, _ int) func() {
	tt.pg.Kill()
	tt.pg.Start()
	return nil
}

func postgresEndsSessions(tt *torture, _ int) func() {
	c, err := pgx.Connect(tt.t.Context(), tt.pg.URL())
	if err != nil {
		tt.t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(tt.t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tocsin'"); err != nil {
		tt.t.Error(err)
	}
	return nil
}

// postgresIsReadOnly is what a standby is before it becomes the primary.
func postgresIsReadOnly(tt *torture, _ int) func() {
	set := func(state string) {
		c, err := pgx.Connect(tt.t.Context(), tt.pg.URL())
		if err != nil {
			tt.t.Fatal(err)
		}
		defer c.Close(context.Background())
		for _, statement := range []string{"ALTER SYSTEM SET default_transaction_read_only = " + state, "SELECT pg_reload_conf()"} {
			if _, err := c.Exec(tt.t.Context(), statement); err != nil {
				tt.t.Error(err)
			}
		}
	}
	set("on")
	return func() { set("off") }
}

// of makes a fault of what is done to a slot, beside all else that goes on, and what is done to it in the end. A slot whose last
// fault is not over yet is left alone.
func of(role string, begin, end func(s *slot)) func(*torture, int) func() {
	return func(tt *torture, n int) func() {
		s := tt.slots[role][n]
		if !s.mu.TryLock() {
			tt.say("· not done: %v is still ending", s)
			return nil
		}
		begun := make(chan struct{})
		tt.beside(func() {
			defer close(begun)
			begin(s)
		})
		return func() {
			tt.beside(func() {
				defer s.mu.Unlock()
				<-begun
				end(s)
			})
		}
	}
}

func kill(role string) func(*torture, int) func() {
	return of(role, (*slot).kill, func(s *slot) { s.launch(s.binary) })
}

func freeze(role string) func(*torture, int) func() {
	return of(role, func(s *slot) { s.signal(syscall.SIGSTOP) }, func(s *slot) { s.signal(syscall.SIGCONT) })
}

// freezeWorkers has nobody work, so that events gather.
func freezeWorkers(tt *torture, _ int) func() {
	var ends []func()
	for n := range tt.slots["worker"] {
		if end := freeze("worker")(tt, n); end != nil {
			ends = append(ends, end)
		}
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

// terminate ends a process, and then starts it again.
func terminate(role string) func(*torture, int) func() {
	return of(role, func(s *slot) { s.replace(s.p) }, func(s *slot) { s.launch(s.binary) })
}

// replace ends a process in peace; one that had to leave something behind may cause copies.
func (s *slot) replace(p *process) {
	over := s.tt.span()
	if s.terminate(p) {
		over()
	}
}

// deploy starts a process of the next version beside the one that runs, and ends that one later.
func deploy(role string) func(*torture, int) func() {
	return of(role, func(s *slot) {
		tt := s.tt
		if migrate, err := launch(tt.t, tt.next, io.Discard, tt.env, "migrate", "up"); err != nil {
			tt.t.Error(err)
		} else {
			<-migrate.done // where the database went meanwhile it fails, and a platform would try again
		}
		s.old = s.p
		s.launch(tt.next)
	}, func(s *slot) {
		if role == "web" {
			s.tt.ready(s)
		}
		s.replace(s.old)
	})
}

// otherClock runs a process with a clock that is wrong, some of them from the start and some from a moment on.
func otherClock(role string) func(*torture, int) func() {
	steps := []string{"3600@0", "-3600@0", "40@2", "-40@2", "86400@1", "-86400@1", "7@0", "-7@0"}
	return of(role, func(s *slot) {
		s.replace(s.p)
		step := steps[int(s.tt.clocks.Add(1))%len(steps)]
		s.tt.say("%v has a clock that is wrong by %s", s, strings.Replace(step, "@", " s from second ", 1))
		s.launch(s.tt.clocked, "CLOCK_STEP="+step)
	}, func(s *slot) {
		s.replace(s.p)
		s.launch(s.tt.binary)
	})
}

// digests has more than so many deliveries go out together for a while. At other times each goes alone, so that it is known
// how often it arrives.
func digests(threshold int) func(*torture, int) func() {
	set := func(tt *torture, threshold int) {
		tt.repeat(0, http.MethodPatch, "/api/v1/settings", object{"digest_threshold": threshold})
	}
	return func(tt *torture, _ int) func() {
		begun := make(chan struct{})
		tt.beside(func() {
			defer close(begun)
			set(tt, threshold)
		})
		return func() {
			tt.beside(func() {
				<-begun
				set(tt, 0)
			})
		}
	}
}
