package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/login"
)

// ownPassword is the page on which people change their password.
type ownPassword struct {
	Username    string
	HasPassword bool // a user without one logs in through OpenID Connect
	Fault       string
}

func (s *server) showOwnPassword(w http.ResponseWriter, r *http.Request) error {
	u, err := s.self(r)
	if err != nil {
		return err
	}
	return s.renderOwnPassword(w, r, u, http.StatusOK, "")
}

func (s *server) renderOwnPassword(
	w http.ResponseWriter, r *http.Request, u *dbmodel.User, status int, fault string,
) error {
	v := ownPassword{Username: u.Username, HasPassword: u.PasswordHash != "", Fault: fault}
	return s.render(w, r, view{status: status, template: "password", title: "Change your password", data: v})
}

// self is the user who comes.
func (s *server) self(r *http.Request) (*dbmodel.User, error) {
	name := exchangeOf(r.Context()).caller.viewer.Username
	u, err := dbmodel.UserByName(r.Context(), s.db.Reader, name)
	if err != nil {
		return nil, missingUser(err, name)
	}
	return u, nil
}

// changeOwnPassword changes the password of a user who proves the current one. All sessions of the user end but this
// one, which begins anew.
func (s *server) changeOwnPassword(w http.ResponseWriter, r *http.Request) error {
	u, err := s.self(r)
	if err != nil {
		return err
	}
	password, fault := chosenPassword(r, "new")
	if fault != "" {
		return s.renderOwnPassword(w, r, u, http.StatusUnprocessableEntity, fault)
	}
	who, tooOften, err := s.guess(w, r, u.Username)
	switch {
	case err != nil:
		return err
	case tooOften != "":
		return s.renderOwnPassword(w, r, u, http.StatusTooManyRequests, tooOften)
	case who == nil:
		return s.renderOwnPassword(w, r, u, http.StatusUnprocessableEntity, "That is not your current password.")
	}
	hash, err := login.HashPassword(password)
	if err != nil {
		return fmt.Errorf("hash a password: %w", err)
	}
	err = s.db.InTx(r.Context(), func(ctx context.Context, tx bun.Tx) error {
		now, err := dbmodel.UserForUpdate(ctx, tx, u.Username)
		if err != nil {
			return missingUser(err, u.Username)
		}
		if now.PasswordHash != who.PasswordHash {
			return passwordChanged()
		}
		return dbmodel.SetPassword(ctx, tx, now.ID, hash)
	})
	if err != nil {
		return fmt.Errorf("change the password of %s: %w", u.Username, err)
	}
	if err := s.logIn(r, dbmodel.NewSession{UserID: who.UserID, PasswordHash: hash}); err != nil {
		return err
	}
	s.audit(r.Context(), "password_changed").Str("of", u.Username).Msg("a user changed the password")
	s.notice(r.Context(), "Your password was changed. Everywhere else you are logged out.")
	s.redirect(w, r, "/")
	return nil
}

// chosenPassword is the password that a form chooses, once in the field with this name and once in repeated.
func chosenPassword(r *http.Request, name string) (password, fault string) {
	password = r.PostFormValue(name)
	if password != r.PostFormValue("repeated") {
		return "", "The two passwords differ: type the same one twice."
	}
	if err := login.ValidatePassword(password); err != nil {
		return "", strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + "."
	}
	return password, ""
}
