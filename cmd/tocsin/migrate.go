package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Bring the schema to this version. Any number of processes may do so at once."`
	Down   migrateDown   `cmd:"" help:"Take back the last \"up\". The contents of its tables are lost."`
	Status migrateStatus `cmd:"" help:"List the migrations and whether the database has them."`
}

type (
	migrateUp     struct{}
	migrateDown   struct{}
	migrateStatus struct{}
)

// Run brings the schema to this version.
func (migrateUp) Run(ctx context.Context, t *terminal) error {
	c, err := config.Load(config.Migrate, t.environ)
	if err != nil {
		return err
	}
	return useDatabase(ctx, c, t, func(db *dbmodel.DB) error {
		applied, err := dbmodel.Migrate(ctx, db)
		if err != nil {
			return fmt.Errorf("migrate the database: %w", err)
		}
		printNames(t, "applied", applied, "Nothing to do: the database is up to date.")
		return nil
	})
}

// Run takes back the last step.
func (migrateDown) Run(ctx context.Context, t *terminal) error {
	return withDatabase(ctx, t, config.Migrate, func(db *dbmodel.DB) error {
		undone, err := dbmodel.Rollback(ctx, db)
		if err != nil {
			return fmt.Errorf("take back the last migration: %w", err)
		}
		printNames(t, "taken back", undone, "Nothing to do: no migration is applied.")
		return nil
	})
}

// Run lists the migrations. It changes nothing.
func (migrateStatus) Run(ctx context.Context, t *terminal) error {
	err := withDatabase(ctx, t, config.Migrate, func(db *dbmodel.DB) error {
		list, err := dbmodel.Migrations(ctx, db)
		for _, m := range list {
			state := "applied"
			if !m.Applied {
				state = "pending"
			}
			fmt.Fprintf(t.out, "%s  %s\n", m.Name, state)
		}
		return err
	})
	if errors.Is(err, errNoDatabase) {
		fmt.Fprintln(t.out, err)
		return nil
	}
	return err
}

// printNames prints a line for each name, followed by state, or otherwise where there is none.
func printNames(t *terminal, state string, names []string, otherwise string) {
	for _, n := range names {
		fmt.Fprintf(t.out, "%s  %s\n", n, state)
	}
	if len(names) == 0 {
		fmt.Fprintln(t.out, otherwise)
	}
}

// errNoDatabase reports that the file of the SQLite database does not exist yet.
var errNoDatabase = errors.New("there is no database yet: the first start of \"tocsin serve\" creates it, " +
	"and so does \"tocsin migrate up\"")

// withDatabase runs fn with the database that is configured for role. It creates no database: the error is errNoDatabase
// where there is none.
func withDatabase(ctx context.Context, t *terminal, role config.Role, fn func(*dbmodel.DB) error) error {
	c, err := config.Load(role, t.environ)
	if err != nil {
		return err
	}
	if !database.Exists(c.Database.DSN.Reveal()) {
		return errNoDatabase
	}
	return useDatabase(ctx, c, t, fn)
}

// useDatabase runs fn with the database of c once it answers.
func useDatabase(ctx context.Context, c *config.Config, t *terminal, fn func(*dbmodel.DB) error) (err error) {
	a := &app{config: c, log: newLogger(c, t.err)}
	defer a.close()
	if a.db, err = openDatabase(c, 4); err != nil {
		return err
	}
	if err := a.awaitDatabase(ctx, func() error { return nil }); err != nil {
		return err
	}
	return fn(a.db)
}
