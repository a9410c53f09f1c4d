package web

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/dbmodel"
)

// audit begins a line of the log about something that the caller did: what, who, and from where. docs/operations.md
// lists what is logged so. The words of what are part of that; no line holds a secret.
func (s *server) audit(ctx context.Context, what string) *zerolog.Event {
	name := ""
	if x := exchangeOf(ctx); x.caller != nil {
		name = x.caller.viewer.Username
	}
	return s.auditOf(ctx, what, name)
}

// auditOf is audit where the caller is not logged in: name is whose login it is about; empty: nobody's.
func (s *server) auditOf(ctx context.Context, what, name string) *zerolog.Event {
	x := exchangeOf(ctx)
	//nolint:zerologlint // the caller ends it
	line := s.log.Info().Str("audit", what).Str("client", addressOf(x.r)).Func(x.ids)
	if name != "" {
		line = line.Str("user", name)
	}
	return line
}

// auditFailedLogin begins the line about a name and a password that do not fit. It has the name only where a user bears
// it: else it may be a password in the wrong field.
func (s *server) auditFailedLogin(ctx context.Context, name string) *zerolog.Event {
	if _, err := dbmodel.UserByName(ctx, s.db.Reader, name); err != nil {
		name = ""
	}
	return s.auditOf(ctx, "login_failed", name).Str("by", "password")
}

// auditChange logs which fields of a call have changed settings, without their values. A call that changed nothing is
// not logged.
func (s *server) auditChange(ctx context.Context, what string, id int64, sent any, contacts []*contactChange) {
	fields := sentFields(reflect.ValueOf(sent).Elem())
	for _, c := range contacts {
		if !c.same {
			fields = append(fields, c.name)
		}
	}
	if len(fields) == 0 {
		return
	}
	slices.Sort(fields)
	line := s.audit(ctx, what).Strs("fields", fields)
	if id != 0 {
		line = line.Int64("id", id)
	}
	line.Msg("settings were changed")
}

// sentFields are the names of the fields that a call has sent, without its contacts.
func sentFields(sent reflect.Value) (names []string) {
	for i := range sent.NumField() {
		field, name := sent.Field(i), sent.Type().Field(i)
		if field.Kind() != reflect.Struct {
			continue
		}
		if name.Anonymous {
			names = append(names, sentFields(field)...)
			continue
		}
		tag, _, _ := strings.Cut(name.Tag.Get("json"), ",")
		if set := field.FieldByName("Set"); set.IsValid() && set.Bool() && tag != "id" {
			names = append(names, tag)
		}
	}
	return names
}
