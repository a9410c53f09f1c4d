package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
)

// liveness keeps the mark in the database that this process is alive.
type liveness struct {
	db      *dbmodel.DB
	process *dbmodel.Process
	cancel  context.CancelFunc
	ended   chan struct{}
}

// startLiveness sets the mark and renews it until end.
func startLiveness(ctx context.Context, db *dbmodel.DB, role config.Role, log zerolog.Logger) (*liveness, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	l := &liveness{
		db: db, ended: make(chan struct{}),
		process: &dbmodel.Process{ID: rand.Text(), Role: string(role), Host: host, Version: version()},
	}
	if err := dbmodel.RenewProcess(ctx, db, l.process); err != nil {
		return nil, fmt.Errorf("record that this process runs: %w", err)
	}
	// While the process shuts down it still needs the schema.
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go l.renew(ctx, log)
	return l, nil
}

func (l *liveness) renew(ctx context.Context, log zerolog.Logger) {
	defer close(l.ended)
	ticker := time.NewTicker(dbmodel.ProcessRenewal)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := l.once(ctx, dbmodel.RenewProcess)
		if err != nil && !failing && ctx.Err() == nil {
			log.Warn().Err(err).Msg("cannot record that this process runs: it goes on trying")
		}
		failing = err != nil
	}
}

// end removes the mark.
func (l *liveness) end() {
	l.cancel()
	<-l.ended
	_ = l.once(context.Background(), dbmodel.RemoveProcess) // without a database the mark expires by itself
}

func (l *liveness) once(ctx context.Context, do func(context.Context, bun.IDB, *dbmodel.Process) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return do(ctx, l.db, l.process)
}
