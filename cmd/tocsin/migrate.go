package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/database"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Migrate the schema to this version. Several processes may do so at once."`
	Down   migrateDown   `cmd:"" help:"Take back the last migration: reports what is lost, and does it with --yes."`
	Status migrateStatus `cmd:"" help:"List the migrations and whether the database has them."`
}

type (
	migrateUp   struct{}
	migrateDown struct {
		Yes bool `help:"Do it: what is listed as lost is lost."`
	}
	migrateStatus struct{}
)

// Run migrates the schema to this version.
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
		for _, name := range applied {
			fmt.Fprintf(t.out, "%s  applied\n", name)
		}
		if len(applied) == 0 {
			fmt.Fprintln(t.out, "Nothing to do: the database is up to date.")
		}
		return nil
	})
}

// Run says what taking back the last migration destroys, and does it where the operator has agreed.
func (m migrateDown) Run(ctx context.Context, t *terminal) error {
	return withDatabase(ctx, t, config.Migrate, func(db *dbmodel.DB) error {
		name, losses, err := dbmodel.LastMigration(ctx, db)
		if err != nil {
			return fmt.Errorf("look at the last migration: %w", err)
		}
		if name == "" {
			fmt.Fprintln(t.out, "Nothing to do: no migration is applied.")
			return nil
		}
		fmt.Fprintf(t.out, "Taking back migration %s destroys:\n", name)
		for _, l := range losses {
			what := "table"
			if strings.Contains(l.Name, ".") {
				what = "column"
			}
			fmt.Fprintf(t.out, "  %-6s  %-30s  %d rows\n", what, l.Name, l.Rows)
		}
		if !m.Yes {
			return errors.New("nothing is changed: make a backup, stop web, worker and scheduler, and repeat this with --yes")
		}
		undone, err := dbmodel.Rollback(ctx, db)
		if err != nil {
			return fmt.Errorf("take back the last migration: %w", err)
		}
		fmt.Fprintf(t.out, "%s  taken back\n", undone)
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

// errNoDatabase reports that the file of the SQLite database does not exist yet.
var errNoDatabase = errors.New("there is no database yet: the first start of \"tocsin serve\" creates it, " +
	"and so does \"tocsin migrate up\"")

// withDatabase runs fn with the database that is configured for role. It does not create one: where there is none it
// returns errNoDatabase.
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
