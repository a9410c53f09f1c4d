package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/mattn/go-isatty"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel/email"
	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/login"
)

type userCommand struct {
	Add    userAdd    `cmd:"" help:"Add a user."`
	List   userList   `cmd:"" help:"List the users."`
	Passwd userPasswd `cmd:"" help:"Change the password of a user and end the user's sessions."`
}

// passwordHelp is part of the help of each command that sets a password.
const passwordHelp = "The password is the first line of the standard input. Where that is a terminal or empty, " +
	"a password is generated and printed once, alone on the standard output."

type userAdd struct {
	Name     string `arg:"" help:"Letters, digits and . _ @ + -, at most 150."`
	Admin    bool   `help:"An administrator sees everything and may do everything."`
	Email    string `help:"Mail to this address greets the user by the first name."`
	FullName string `help:"First and last name."`
}

// Help is printed below the usage.
func (userAdd) Help() string { return passwordHelp }

// Validate reports what is wrong with the command line.
func (c userAdd) Validate() error {
	const longest = 255
	if err := dbmodel.CheckUsername(c.Name); err != nil {
		return fmt.Errorf("the name %w", err)
	}
	switch {
	case c.Name == dbmodel.Automation:
		return errReserved
	case len([]rune(c.FullName)) > longest || strings.ContainsRune(c.FullName, 0):
		return fmt.Errorf("--full-name has more than %d characters, or a zero byte", longest)
	case c.Email == "":
		return nil
	}
	if err := email.CheckAddress(c.Email); err != nil {
		return fmt.Errorf("--email %w", err)
	}
	return nil
}

var errReserved = fmt.Errorf("the user %s is reserved for TOCSIN_ADMIN_TOKEN", dbmodel.Automation)

// Run adds the user.
func (c userAdd) Run(ctx context.Context, t *terminal) error {
	return withSchema(ctx, t, config.User, func(db *dbmodel.DB) error {
		password, generated, err := newPassword(t)
		if err != nil {
			return err
		}
		u := dbmodel.User{Username: c.Name, FullName: strings.TrimSpace(c.FullName), Email: c.Email, IsAdmin: c.Admin}
		if err := addUser(ctx, db, u, password); err != nil {
			return err
		}
		kind := "User"
		if c.Admin {
			kind = "Administrator"
		}
		fmt.Fprintf(t.err, "%s %s added.\n", kind, c.Name)
		showPassword(t, password, generated)
		return nil
	})
}

// addUser stores a new user. A user of that name must not exist yet.
func addUser(ctx context.Context, db *dbmodel.DB, u dbmodel.User, password string) error {
	return db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		isNew, err := dbmodel.AddUser(ctx, tx, u.Username)
		if err != nil {
			return fmt.Errorf("store the user: %w", err)
		}
		if !isNew {
			return fmt.Errorf("there is a user %s already: \"tocsin user passwd %[1]s\" changes the password", u.Username)
		}
		stored, err := dbmodel.UserByName(ctx, tx, u.Username)
		if err != nil {
			return fmt.Errorf("store the user: %w", err)
		}
		u.ID = stored.ID
		if err := dbmodel.SaveUser(ctx, tx, &u); err != nil {
			return fmt.Errorf("store the user: %w", err)
		}
		return setPassword(ctx, tx, &u, password)
	})
}

type userPasswd struct {
	Name string `arg:"" help:"The name of the user."`
}

// Help is printed below the usage.
func (userPasswd) Help() string { return passwordHelp }

// Run changes the password, which ends the user's sessions.
func (c userPasswd) Run(ctx context.Context, t *terminal) error {
	if c.Name == dbmodel.Automation {
		return errReserved
	}
	return withSchema(ctx, t, config.User, func(db *dbmodel.DB) error {
		u, err := userNamed(ctx, db, c.Name)
		if err != nil {
			return err
		}
		password, generated, err := newPassword(t)
		if err != nil {
			return err
		}
		err = db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error { return setPassword(ctx, tx, u, password) })
		if err != nil {
			return err
		}
		fmt.Fprintf(t.err, "The password of %s is changed.\n", c.Name)
		showPassword(t, password, generated)
		return nil
	})
}

type userList struct{}

// pageSize is how many rows a command reads at once.
const pageSize = 500

// Run lists the users.
func (userList) Run(ctx context.Context, t *terminal) error {
	return withSchema(ctx, t, config.User, func(db *dbmodel.DB) error {
		w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tADMIN\tPASSWORD\tEMAIL\tFULL NAME")
		for after := ""; ; {
			users, err := dbmodel.Users(ctx, db, after, pageSize)
			if err != nil {
				return fmt.Errorf("list users: %w", err)
			}
			for _, u := range users {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Username, yesNo(u.IsAdmin), yesNo(u.PasswordHash != ""),
					plain(u.Email), plain(u.FullName))
				after = u.Username
			}
			if len(users) < pageSize {
				return w.Flush()
			}
		}
	})
}

// withSchema is withDatabase for commands that need the schema of this version.
func withSchema(ctx context.Context, t *terminal, role config.Role, fn func(*dbmodel.DB) error) error {
	return withDatabase(ctx, t, role, func(db *dbmodel.DB) error {
		if err := dbmodel.CheckSchema(ctx, db); err != nil {
			return err
		}
		return fn(db)
	})
}

func userNamed(ctx context.Context, db *dbmodel.DB, name string) (*dbmodel.User, error) {
	u, err := dbmodel.UserByName(ctx, db, name)
	if errors.Is(err, dbmodel.ErrNotFound) {
		return nil, fmt.Errorf("there is no user %q: \"tocsin user list\" lists the users", name)
	}
	if err != nil {
		return nil, fmt.Errorf("load the user: %w", err)
	}
	return u, nil
}

// newPassword returns the first line of the standard input. Where that is a terminal or empty it generates a password.
func newPassword(t *terminal) (password string, generated bool, err error) {
	const longest = 4 << 10
	if f, ok := t.in.(*os.File); t.in != nil && (!ok || !isatty.IsTerminal(f.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(t.in, longest)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", false, fmt.Errorf("read the password from the standard input: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			return line, false, nil
		}
	}
	return rand.Text(), true, nil // 26 characters, 130 bits
}

func setPassword(ctx context.Context, tx bun.Tx, u *dbmodel.User, password string) error {
	hash, err := login.HashPassword(password)
	if err != nil {
		return err
	}
	if err := dbmodel.SetPassword(ctx, tx, u.ID, hash); err != nil {
		return fmt.Errorf("store the password: %w", err)
	}
	return nil
}

// showPassword prints a generated password, alone on the standard output.
func showPassword(t *terminal, password string, generated bool) {
	if generated {
		fmt.Fprintln(t.err, "The password was generated and is shown only once:")
		fmt.Fprintln(t.out, password)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// plain replaces control characters, which could move the cursor of a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
