package web

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/channel"
	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/input"
	"github.com/seed91453169/tocsin/web/login"
)

// UserParam is the name of a user in the path; exported because huma passes over what is not.
type UserParam struct {
	Username string `path:"username" minLength:"1" maxLength:"150" pattern:"^[A-Za-z0-9._@+-]+$" patternDescription:"letters, digits and . _ @ + -"`
}

type userFields struct {
	Username input.Field[string]        `json:"username" doc:"May be sent back; must be the one of the path"`
	FullName input.Field[string]        `json:"full_name" doc:"At most 255 characters; mails greet by its first word"`
	Email    input.Field[input.Mailbox] `json:"email"`
	IsAdmin  input.Field[bool]          `json:"is_admin" doc:"Only an administrator may change it"`
}

type userAnswer struct {
	Username string `json:"username"`
	FullName string `json:"full_name"`
	Email    string `json:"email"`
	IsAdmin  bool   `json:"is_admin"`
}

type userOutput struct{ Body userAnswer }

func (s *server) apiListUsers(ctx context.Context, in *ListParams) (*listOutput[userAnswer], error) {
	after, err := nameCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	users, err := dbmodel.Users(ctx, s.db.Reader, after, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return pageOf(users, in.Limit, showUser, func(u *dbmodel.User) string { return nameCursorOf(u.Username) }), nil
}

func (s *server) apiGetUser(ctx context.Context, in *UserParam) (*userOutput, error) {
	u, err := dbmodel.UserByName(ctx, s.db.Reader, in.Username)
	if err != nil {
		return nil, missingUser(err, in.Username)
	}
	return &userOutput{showUser(u)}, nil
}

func (s *server) apiPutUser(ctx context.Context, in *UserParam) (*userOutput, error) {
	var sent userFields
	found, err := readJSONFaults(ctx, &sent)
	if err != nil {
		return nil, err
	}
	return s.putUser(ctx, in, &sent, found)
}

// putUser makes a user, or changes what was sent of it, where the caller may. It refuses faults that were found before
// together with its own.
func (s *server) putUser(
	ctx context.Context, in *UserParam, sent *userFields, found input.Faults,
) (out *userOutput, err error) {
	if err := notReserved(in.Username); err != nil {
		return nil, err
	}
	if err := dbmodel.CheckUsername(in.Username); err != nil {
		return nil, invalid(input.Fault{Location: "path.username", Message: err.Error()})
	}
	wasAdmin, isAdmin := false, false
	err = s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		u, _, err := dbmodel.EnsuredUser(ctx, tx, in.Username)
		if err != nil {
			return fmt.Errorf("load or make user %s: %w", in.Username, err)
		}
		before := *u
		if err := sent.merge(u, slices.Clone(found)); err != nil {
			return err
		}
		if *u != before && (before.IsAdmin || u.IsAdmin) && !viewerOf(ctx).Admin {
			return forbidden("Only an administrator makes or changes an administrator.")
		}
		if *u != before {
			if err := s.keepsTakenUser(ctx, tx, u.ID); err != nil {
				return err
			}
		}
		if err := dbmodel.SaveUser(ctx, tx, u); err != nil {
			return fmt.Errorf("store user %s: %w", in.Username, err)
		}
		if err := dbmodel.FollowEmail(ctx, tx, s.vault, u.ID); err != nil {
			return fmt.Errorf("move the subscriptions of user %s: %w", in.Username, err)
		}
		wasAdmin, isAdmin = before.IsAdmin, u.IsAdmin
		out = &userOutput{showUser(u)}
		return nil
	})
	if err == nil && wasAdmin != isAdmin {
		s.audit(ctx, "role_changed").Str("of", in.Username).Bool("administrator", isAdmin).
			Msg("a user became, or is no more, an administrator")
	}
	return out, err
}

// merge puts what was sent into what is stored. It answers its own faults and those that were found before.
func (f *userFields) merge(u *dbmodel.User, faults input.Faults) error {
	if f.Username.Set && f.Username.Value != u.Username {
		faults.AddOnce("username", "must be the one of the path")
	}
	if len([]rune(f.FullName.Value)) > login.LongestFullName {
		faults.AddOnce("full_name", fmt.Sprintf("must have at most %d characters", login.LongestFullName))
	}
	f.FullName.Value = channel.TrimInvisible(f.FullName.Value)
	if at, r := channel.Invisible(f.FullName.Value); at > 0 {
		faults.AddOnce("full_name", fmt.Sprintf("has an invisible character (%U) at position %d", r, at))
	}
	if faults != nil {
		return invalid(faults...)
	}
	input.Apply(f.FullName, &u.FullName, "", input.Same)
	input.Apply(f.Email, &u.Email, "", func(m input.Mailbox) string { return string(m) })
	input.Apply(f.IsAdmin, &u.IsAdmin, false, input.Same)
	return nil
}

func (s *server) apiDeleteUser(ctx context.Context, in *UserParam) (*struct{}, error) {
	if err := notReserved(in.Username); err != nil {
		return nil, err
	}
	err := s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		u, err := dbmodel.UserForUpdate(ctx, tx, in.Username)
		if err != nil {
			return missingUser(err, in.Username)
		}
		if u.IsAdmin && !viewerOf(ctx).Admin {
			return forbidden("Only an administrator deletes an administrator.")
		}
		if err := s.keepsTakenUser(ctx, tx, u.ID); err != nil {
			return err
		}
		return missingUser(dbmodel.DeleteUser(ctx, tx, u.ID), in.Username)
	})
	if err == nil {
		s.audit(ctx, "user_deleted").Str("of", in.Username).Msg("a user was deleted")
		s.removeDeleted(ctx)
	}
	return nil, err
}

// notReserved answers 403 for the user that TOCSIN_ADMIN_TOKEN belongs to.
func notReserved(name string) error {
	if name == dbmodel.Automation {
		return forbidden("The user " + dbmodel.Automation + " is reserved: it is always there, and always an administrator.")
	}
	return nil
}

// errNoUser is the answer where a user does not exist.
var errNoUser = notFound("user")

// missingUser makes errNoUser of ErrNotFound.
func missingUser(err error, name string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dbmodel.ErrNotFound):
		return errNoUser
	}
	return fmt.Errorf("user %s: %w", name, err)
}

func showUser(u *dbmodel.User) userAnswer {
	return userAnswer{Username: u.Username, FullName: u.FullName, Email: u.Email, IsAdmin: u.IsAdmin}
}
