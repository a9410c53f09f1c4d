package torture

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/internal/testenv"
)

func redisDies(r *run, _ int) func() {
	r.rd.Kill()
	if !r.plan.aof {
		r.losses = append(r.losses, time.Now())
	}
	return r.rd.Start
}

func (r *run) redis(do func(ctx context.Context, c *redis.Client) error) {
	o, err := redis.ParseURL(r.rd.URL())
	if err != nil {
		r.t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer func() { _ = c.Close() }()
	if err := do(r.t.Context(), c); err != nil {
		r.t.Errorf("redis: %v", err)
	}
}

func redisIsEmptied(r *run, _ int) func() {
	r.losses = append(r.losses, time.Now())
	r.redis(func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
	return nil
}

func redisStandsStill(r *run, _ int) func() {
	r.rd.Pause()
	return r.rd.Resume
}

func redisIsFull(r *run, _ int) func() {
	limit := func(to string) {
		r.redis(func(ctx context.Context, c *redis.Client) error { return c.ConfigSet(ctx, "maxmemory", to).Err() })
	}
	limit("1")
	return func() { limit("0") }
}

// hold makes the server behind a proxy unreachable; the connections that were open are cut at the end.
func hold(p *proxy) func() {
	p.hold()
	return func() { p.cut(); p.release() }
}

func restart(how testenv.StopMode) func(*run, int) func() {
	return func(r *run, _ int) func() { r.pg.Restart(how); return nil }
}

func postgresIsKilled(r *run, _ int) func() {
	r.pg.Kill()
	r.pg.Start()
	return nil
}

func postgresEndsSessions(r *run, _ int) func() {
	c, err := pgx.Connect(r.t.Context(), r.pg.URL())
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	const end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tocsin'"
	if _, err := c.Exec(r.t.Context(), end); err != nil {
		r.t.Error(err)
	}
	return nil
}

// postgresIsReadOnly makes the server read-only, like a standby before its promotion.
func postgresIsReadOnly(r *run, _ int) func() {
	set := func(state string) {
		c, err := pgx.Connect(r.t.Context(), r.pg.URL())
		if err != nil {
			r.t.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		change := "ALTER SYSTEM SET default_transaction_read_only = " + state
		for _, statement := range []string{change, "SELECT pg_reload_conf()"} {
			if _, err := c.Exec(r.t.Context(), statement); err != nil {
				r.t.Error(err)
			}
		}
	}
	set("on")
	return func() { set("off") }
}

func redisIsCutOff(r *run, _ int) func() { r.rdProxy.cut(); return nil }

func redisForgetsClients(r *run, _ int) func() { r.rdProxy.forget(); return nil }

func redisIsUnreachable(r *run, _ int) func() { return hold(r.rdProxy) }

func postgresIsCutOff(r *run, _ int) func() { r.pgProxy.cut(); return nil }

func postgresIsUnreachable(r *run, _ int) func() { return hold(r.pgProxy) }
