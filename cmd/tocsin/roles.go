package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web"
	"github.com/seed91453169/tocsin/worker"
)

// Sizes of the pools of database connections, for each process. A process that serves HTTP has two more pools: one of
// web.PeopleConnections for people, and one of intakeConns for reports. In a process with a worker, the pool has one
// more connection for each evaluation at once.
const (
	webConns       = 2
	intakeConns    = 8
	workerConns    = 12
	schedulerConns = 4
	serveConns     = 16
)

type serveCommand struct{}

// Help is printed below the usage.
func (serveCommand) Help() string {
	return "Uses SQLite where DATABASE_URL is not set, and an in-process Redis where REDIS_URL is not set."
}

// needed is what the help of each single role says.
const needed = "Needs DATABASE_URL, REDIS_URL and TOCSIN_SECRET_KEY."

// Run serves web, worker and scheduler until ctx ends.
func (serveCommand) Run(ctx context.Context, t *terminal) error {
	c, err := config.Load(config.Serve, t.environ)
	if err != nil {
		return err
	}
	allowGarbage(serveGarbage)
	setup := rand.Text() // 130 bits
	return serve(ctx, c, t, setup, func(ctx context.Context, a *app) {
		exists, err := dbmodel.HasAdministrator(ctx, a.db)
		if err != nil {
			a.log.Error().Err(err).Msg("look for an administrator")
		}
		if err != nil || exists {
			return
		}
		fmt.Fprintf(t.err, "\nThere is no administrator yet. This link makes the first one; "+
			"it works once, while this process runs:\n\n  %s\n\n", web.SetupURL(c.BaseURL, setup))
	})
}

// serve runs all roles in this process. The token setup makes the first administrator; an empty one makes none.
// It calls ready once the roles run, and returns after ctx has ended.
func serve(
	ctx context.Context, c *config.Config, t *terminal, setup string, ready func(ctx context.Context, a *app),
) error {
	unlock, err := lockDatabase(c)
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	c.SetListen(listener.Addr().String())
	a, err := newApp(ctx, c, t, serveConns+worker.Evaluations(c.WorkerConcurrency), true)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer a.close()
	w, err := a.startWorker()
	if err != nil {
		return err
	}
	defer endWith(ctx, c.ShutdownTimeout, w.Shutdown)()
	defer endWith(ctx, c.ShutdownTimeout, a.startScheduler().Shutdown)()
	go ready(ctx, a)
	return a.serveWeb(ctx, listener, setup)
}

// lockDatabase keeps a second process from serving the same SQLite database: each has an in-process Redis of its own,
// and neither would know which exceptions the other one has notified. Of PostgreSQL it locks nothing.
func lockDatabase(c *config.Config) (unlock func(), err error) {
	path, isSQLite := strings.CutPrefix(c.Database.DSN.Reveal(), "sqlite://")
	if !isSQLite {
		return func() {}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the database: %w", err)
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the database %s: %w", path, err)
	}
	if !locked {
		return nil, fmt.Errorf("another \"tocsin serve\" runs on the database %s: "+
			"end that one, or give this one a folder of its own with TOCSIN_DATA_DIR", path)
	}
	return func() { _ = lock.Unlock() }, nil // the system releases the lock when the process ends
}

// endWith calls shutdown as soon as ctx ends, so that all parts of the process shut down at the same time. The
// returned function waits for shutdown, but not longer than within after the end of ctx, because asynq's shutdown
// waits for a Redis that does not answer. Where ctx has not ended, the returned function calls shutdown itself.
func endWith(ctx context.Context, within time.Duration, shutdown func()) (wait func()) {
	done, late := make(chan struct{}), make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		defer time.AfterFunc(within, func() { close(late) }).Stop()
		shutdown()
	})
	return func() {
		if cancel() {
			shutdown()
			return
		}
		select {
		case <-done:
		case <-late:
		}
	}
}

// withApp loads the configuration of role, opens an app, runs do with it and closes it.
func withApp(ctx context.Context, t *terminal, role config.Role, conns int, do func(*app) error) error {
	c, err := config.Load(role, t.environ)
	if err != nil {
		return err
	}
	if role == config.Worker {
		conns += worker.Evaluations(c.WorkerConcurrency)
	}
	a, err := newApp(ctx, c, t, conns, false)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer a.close()
	return do(a)
}

// unlessEnded returns err, or nil where ctx ended while the process waited for the database.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, dbmodel.ErrUnavailable) {
		return nil
	}
	return err
}

type webCommand struct{}

// Help is printed below the usage.
func (webCommand) Help() string { return needed }

// webMemory is the size from which on a web process collects garbage often instead of growing. The requests that it
// holds at once need much less, so it grows little beyond that. workerMemory is the same for a worker, which holds the
// chunks of imports that it evaluates at once: where all their observations match, these take more than 64 MiB.
const (
	webMemory    = 128 << 20
	workerMemory = 128 << 20
)

// limitMemory sets the size from which on this process collects garbage often, unless GOMEMLIMIT sets it.
func limitMemory(bytes int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(bytes)
	}
}

// serveGarbage is how much garbage serve lets pile up before it looks for it, in percent of what it uses. It runs the
// database, too, whose garbage an import would have it look for many times a second.
const serveGarbage = 200

// allowGarbage sets how much garbage this process lets pile up before it looks for it, unless GOGC sets that.
func allowGarbage(percent int) {
	const usual = 100
	if set := debug.SetGCPercent(percent); set != usual {
		debug.SetGCPercent(set)
	}
}

// Run serves HTTP until ctx ends.
func (webCommand) Run(ctx context.Context, t *terminal) error {
	limitMemory(webMemory)
	return withApp(ctx, t, config.Web, webConns, func(a *app) error {
		listener, err := listen(ctx, a.config.Listen)
		if err != nil {
			return err
		}
		defer listener.Close()
		a.config.SetListen(listener.Addr().String())
		return a.serveWeb(ctx, listener, "")
	})
}

type workerCommand struct{}

// Help is printed below the usage.
func (workerCommand) Help() string { return needed }

// Run evaluates events and delivers notifications until ctx ends.
func (workerCommand) Run(ctx context.Context, t *terminal) error {
	limitMemory(workerMemory)
	return withApp(ctx, t, config.Worker, workerConns, func(a *app) error {
		w, err := a.startWorker()
		if err != nil {
			return err
		}
		defer endWith(ctx, a.config.ShutdownTimeout, w.Shutdown)()
		return a.serveHealth(ctx, true)
	})
}

type schedulerCommand struct{}

// Help is printed below the usage.
func (schedulerCommand) Help() string { return needed }

// Run enqueues periodic tasks and sweeps until ctx ends.
func (schedulerCommand) Run(ctx context.Context, t *terminal) error {
	return withApp(ctx, t, config.Scheduler, schedulerConns, func(a *app) error {
		defer endWith(ctx, a.config.ShutdownTimeout, a.startScheduler().Shutdown)()
		return a.serveHealth(ctx, false)
	})
}

// serveWeb serves all calls and pages on l until ctx ends. The token setup makes the first administrator; an empty one
// makes none.
func (a *app) serveWeb(ctx context.Context, l net.Listener, setup string) error {
	h, err := a.webHandler(ctx, setup)
	if err != nil {
		return err
	}
	return serveHTTP(ctx, a, l, h)
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w (set PORT or TOCSIN_LISTEN to another one)", address, err)
	}
	return l, nil
}

// serveHTTP answers requests until ctx ends, then waits for the running ones, up to the shutdown timeout.
func serveHTTP(ctx context.Context, a *app, l net.Listener, h http.Handler) error {
	server := web.NewServer(h, a.log)
	a.log.Info().Str("address", l.Addr().String()).Str("url", a.config.BaseURL).Msg("listening")
	if warning := a.config.BaseURLWarning(); warning != "" {
		a.log.Warn().Msg(warning)
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	a.log.Info().Msg("shutting down")
	end, cancel := context.WithTimeout(context.Background(), a.config.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		a.log.Warn().Err(err).Msg("requests were cut off")
		_ = server.Close()
	}
	return nil
}

// serveHealth serves /healthz, /readyz and /metrics on TOCSIN_METRICS_LISTEN, if that is set, until ctx ends.
func (a *app) serveHealth(ctx context.Context, isWorker bool) error {
	if a.config.MetricsListen == "" {
		a.log.Info().Msg("running")
		<-ctx.Done()
		a.log.Info().Msg("shutting down")
		return nil
	}
	l, err := listen(ctx, a.config.MetricsListen)
	if err != nil {
		return errors.Join(err, errors.New("this address is TOCSIN_METRICS_LISTEN"))
	}
	defer l.Close()
	return serveHTTP(ctx, a, l, web.Health(a.db, a.queue, a.registry, isWorker))
}
