package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/program"
)

func TestEndWithWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		stuck := make(chan struct{})
		wait := endWith(ctx, 5*time.Second, func() { <-stuck })
		began := time.Now()
		end()
		time.Sleep(time.Second) //nolint:forbidigo // what else ends takes its time; it counts
		wait()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it took %s", took)
		}
		close(stuck)
	})
}

func TestAwaitDatabaseThatGoesAgain(t *testing.T) {
	t.Parallel()
	a := &app{db: testenv.SQLiteDB(t), log: zerolog.Nop()}
	tries := 0
	err := a.awaitDatabase(t.Context(), func() error {
		if tries++; tries < 3 {
			return dbmodel.ErrUnavailable
		}
		return errors.New("something else")
	})
	if tries != 3 || err == nil || err.Error() != "something else" {
		t.Errorf("%d tries: %v", tries, err)
	}
}

// TestTerminateWhileWaiting ends a process that has not begun to work, because the database is not there.
func TestTerminateWhileWaiting(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, "DATABASE_URL=postgres://postgres@127.0.0.1:"+program.FreePort(t)+"/postgres?sslmode=disable", "REDIS_URL=redis://127.0.0.1:"+program.FreePort(t))
	p := start(t, d.env, "worker")
	testenv.Eventually(t, 30*time.Second, func() error {
		if p.log.String() == "" {
			return errors.New("it says nothing")
		}
		return nil
	}, "it does not wait")
	if code, _ := p.terminate(); code != 0 {
		t.Errorf("exit %d", code)
	}
}
