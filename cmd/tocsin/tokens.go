package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
)

type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Create an API token and print it once, alone on the standard output."`
	List   tokenList   `cmd:"" help:"List the tokens, without the tokens themselves."`
	Revoke tokenRevoke `cmd:"" help:"Revoke a token: calls with it are refused from then on."`
}

type tokenCreate struct {
	User    string        `required:"" help:"The user that the token belongs to."`
	Scope   dbmodel.Scope `enum:"ingest,user" default:"user" help:"One of ${enum}; default ${default}."`
	Expires *expiry       `help:"The end: a duration like 720h, a date like 2030-01-31, or a time. Default: never."`
}

// Help is printed below the usage.
func (tokenCreate) Help() string {
	return `A token of the scope "user" may do what its user may. A token of the scope "ingest" reports events of any
product, and creates, changes and deletes products, groups, members and users, but reads no notification.`
}

// Run creates the token.
func (c tokenCreate) Run(ctx context.Context, t *terminal) error {
	return withSchema(ctx, t, config.Token, func(db *dbmodel.DB) error {
		u, err := userNamed(ctx, db, c.User)
		if err != nil {
			return err
		}
		now, err := dbmodel.DatabaseNow(ctx, db)
		if err != nil {
			return fmt.Errorf("ask the database for the time: %w", err)
		}
		expires, err := c.Expires.from(now)
		if err != nil {
			return err
		}
		token, id, err := dbmodel.CreateToken(ctx, db, u.ID, c.Scope, expires)
		if err != nil {
			return fmt.Errorf("store the token: %w", err)
		}
		until := "until it is revoked"
		if expires != nil {
			until = "until " + expires.Format(time.RFC3339)
		}
		fmt.Fprintf(t.err, "Token %d of %s, scope %s, is good %s. It is shown this once:\n", id, c.User, c.Scope, until)
		fmt.Fprintln(t.out, token)
		return nil
	})
}

// expiry is the end of a token: a duration after its creation, or a time.
type expiry struct {
	after time.Duration
	at    time.Time
}

// UnmarshalText reads a duration, a date (in UTC) or a time with a zone.
func (e *expiry) UnmarshalText(text []byte) error {
	s := string(text)
	if d, err := time.ParseDuration(s); err == nil {
		e.after = d
		return nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, s); err == nil {
			e.at = at.UTC().Truncate(time.Microsecond)
			return nil
		}
	}
	return fmt.Errorf("%q is neither a duration like 720h nor a date like 2030-01-31", s)
}

// from returns the end of a token that is created at now; nil means never.
func (e *expiry) from(now time.Time) (*time.Time, error) {
	if e == nil {
		return nil, nil //nolint:nilnil // it never ends
	}
	at := e.at
	if at.IsZero() {
		at = now.Add(e.after)
	}
	if !at.After(now) {
		return nil, errors.New("--expires is not in the future")
	}
	return &at, nil
}

type tokenList struct{}

// Run lists the tokens.
func (tokenList) Run(ctx context.Context, t *terminal) error {
	return withSchema(ctx, t, config.Token, func(db *dbmodel.DB) error {
		tokens, err := dbmodel.Tokens(ctx, db)
		if err != nil {
			return fmt.Errorf("list tokens: %w", err)
		}
		w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tUSER\tSCOPE\tCREATED\tEXPIRES")
		for _, k := range tokens {
			expires := "never"
			if k.ExpiresAt != nil {
				expires = k.ExpiresAt.UTC().Format(time.RFC3339)
			}
			if k.Expired {
				expires += " (expired)"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", k.ID, k.Username, k.Scope, k.CreatedAt.UTC().Format(time.RFC3339), expires)
		}
		return w.Flush()
	})
}

type tokenRevoke struct {
	ID int64 `arg:"" help:"The number that \"token list\" shows."`
}

// Run revokes the token.
func (c tokenRevoke) Run(ctx context.Context, t *terminal) error {
	return withSchema(ctx, t, config.Token, func(db *dbmodel.DB) error {
		err := dbmodel.RevokeToken(ctx, db, c.ID)
		if errors.Is(err, dbmodel.ErrNotFound) {
			return fmt.Errorf("there is no token %d: \"tocsin token list\" lists the tokens", c.ID)
		}
		if err != nil {
			return fmt.Errorf("revoke the token: %w", err)
		}
		fmt.Fprintf(t.err, "Token %d is revoked.\n", c.ID)
		return nil
	})
}
