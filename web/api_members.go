package web

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// memberParams name a member in the path.
type memberParams struct {
	IDParam
	UserParam
}

type membersParams struct {
	IDParam
	ListParams
}

type memberFields struct {
	Role input.Must[rule.Role] `json:"role"`
}

type memberAnswer struct {
	Username string     `json:"username"`
	FullName string     `json:"full_name"`
	Role     memberRole `json:"role"`
}

// memberSource is what somebody may be a member of.
type memberSource struct {
	name   string
	in     func(id int64) dbmodel.Membership
	holder func(id int64) rule.Holder
	role   func(ctx context.Context, db bun.IDB, v dbmodel.Viewer, id int64) (rule.Role, error)
}

var (
	productMembers = memberSource{"product", dbmodel.InProduct, productHolder, dbmodel.RoleIn}
	groupMembers   = memberSource{"product group", dbmodel.InProductGroup, groupHolder, dbmodel.RoleInGroup}
)

func (s *server) apiListMembers(
	of memberSource,
) func(context.Context, *membersParams) (*listOutput[memberAnswer], error) {
	return func(ctx context.Context, in *membersParams) (*listOutput[memberAnswer], error) {
		return s.listMembers(ctx, of, in)
	}
}

func (s *server) apiPutMember(of memberSource) func(context.Context, *memberParams) (*struct{}, error) {
	return func(ctx context.Context, in *memberParams) (*struct{}, error) {
		// Before the body, which may be large; setMember asks again.
		if err := mayEditMembers(ctx, s.db.Reader, of, in.ID); err != nil {
			return nil, err
		}
		var sent memberFields
		if err := readJSON(ctx, &sent); err != nil {
			return nil, err
		}
		return nil, s.setMember(ctx, of, in, &sent)
	}
}

func (s *server) apiDeleteMember(of memberSource) func(context.Context, *memberParams) (*struct{}, error) {
	return func(ctx context.Context, in *memberParams) (*struct{}, error) {
		return nil, s.removeMember(ctx, of, in)
	}
}

// listMembers lists the members of what the caller is a member of; a caller who sees the name of a group alone does
// not see its members.
func (s *server) listMembers(
	ctx context.Context, of memberSource, in *membersParams,
) (*listOutput[memberAnswer], error) {
	after, err := nameCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	v := viewerOf(ctx)
	role, err := of.role(ctx, s.db.Reader, v, in.ID)
	if err == nil && role == rule.NoRole && !v.Ingest {
		err = dbmodel.ErrNotFound
	}
	if err != nil {
		return nil, missing(err, of.name, in.ID)
	}
	members, err := dbmodel.Members(ctx, s.db.Reader, of.in(in.ID), after, in.Limit+1)
	if err != nil {
		return nil, fmt.Errorf("list the members of %s %d: %w", of.name, in.ID, err)
	}
	return pageOf(members, in.Limit, func(m *dbmodel.Member) memberAnswer {
		return memberAnswer{m.Username, m.FullName, memberRole(m.Role)}
	},
		func(m *dbmodel.Member) string { return nameCursorOf(m.Username) }), nil
}

// setMember makes a user a member, or changes the role, where the caller may.
func (s *server) setMember(ctx context.Context, of memberSource, in *memberParams, sent *memberFields) error {
	if sent.Role.Empty {
		return invalid(input.Fault{Location: "role", Message: input.MustBeOneOf(rule.Roles)})
	}
	err := s.editMember(ctx, of, in, func(ctx context.Context, tx bun.Tx, userID int64) error {
		return dbmodel.SetMember(ctx, tx, of.in(in.ID), userID, sent.Role.Value)
	})
	if err == nil {
		s.audit(ctx, "role_changed").Str("of", in.Username).Str("in", of.name).Int64("id", in.ID).
			Str("role", string(sent.Role.Value)).
			Msg("a user is a member")
	}
	return err
}

// removeMember takes a member out, where the caller may.
func (s *server) removeMember(ctx context.Context, of memberSource, in *memberParams) error {
	err := s.editMember(ctx, of, in, func(ctx context.Context, tx bun.Tx, userID int64) error {
		return dbmodel.RemoveMember(ctx, tx, of.in(in.ID), userID)
	})
	if err == nil {
		s.audit(ctx, "role_changed").Str("of", in.Username).Str("in", of.name).Int64("id", in.ID).Str("role", "").
			Msg("a user is no member any more")
	}
	return err
}

// mayEditMembers answers callers who may not edit the members: 404 where they do not see what these are members of,
// else 403.
func mayEditMembers(ctx context.Context, db bun.IDB, of memberSource, id int64) error {
	v := viewerOf(ctx)
	role, err := of.role(ctx, db, v, id)
	if err != nil {
		return missing(err, of.name, id)
	}
	if v.Ingest {
		return nil
	}
	return needs(role, rule.Owner)
}

// editMember has edit change the membership of a user, where the caller may.
func (s *server) editMember(
	ctx context.Context, of memberSource, in *memberParams, edit func(ctx context.Context, tx bun.Tx, userID int64) error,
) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := mayEditMembers(ctx, tx, of, in.ID); err != nil {
			return err
		}
		u, err := dbmodel.UserByName(ctx, tx, in.Username)
		if err != nil {
			return missingUser(err, in.Username)
		}
		if s.secObserve != nil && s.secObserve.Members {
			if err := s.notTaken(ctx, tx, of.holder(in.ID), "The members come"); err != nil {
				return err
			}
		}
		switch err := edit(ctx, tx, u.ID); {
		case errors.Is(err, dbmodel.ErrNotFound):
			return notFound("member")
		case errors.Is(err, dbmodel.ErrConflict):
			return notFound(of.name + " or user") // deleted in this moment
		case err != nil:
			return fmt.Errorf("member %s of %s %d: %w", in.Username, of.name, in.ID, err)
		}
		return nil
	})
}
