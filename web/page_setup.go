package web

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/login"
)

const setupPath = "/setup"

// SetupURL is the address that makes the first administrator, see Config.SetupToken.
func SetupURL(baseURL, token string) string {
	return strings.TrimSuffix(baseURL, "/") + setupPath + "?token=" + token
}

// setupView is what the page for the first administrator shows.
type setupView struct {
	Token    string
	Username string
	FullName string
	Fault    string
}

func (s *server) showSetup(w http.ResponseWriter, r *http.Request) error {
	if err := s.mayStillSetUp(r); err != nil {
		return err
	}
	return s.renderSetup(w, r, http.StatusOK, setupView{Token: r.FormValue("token")})
}

func (s *server) renderSetup(w http.ResponseWriter, r *http.Request, status int, v setupView) error {
	return s.render(w, r, view{status: status, template: "setup", title: "Make the first administrator", data: v})
}

// errDeadLink is the answer to a link of another process, and to one that was used.
func errDeadLink() *problem {
	return newProblem(http.StatusNotFound,
		"This link is not valid any more: an administrator was made, or Tocsin was restarted.").
		advising("Log in if you have a user. Else run \"tocsin user add NAME --admin\", or restart \"tocsin serve\", " +
			"which prints a new link as long as there is no administrator.")
}

// mayStillSetUp returns an error unless the token is that of this process and unused, and there is no administrator
// yet.
func (s *server) mayStillSetUp(r *http.Request) error {
	token := r.FormValue("token")
	if s.setupToken == "" || s.wasSetUp.Load() || subtle.ConstantTimeCompare([]byte(token), []byte(s.setupToken)) != 1 {
		return errDeadLink()
	}
	there, err := dbmodel.HasAdministrator(r.Context(), s.db)
	if err != nil {
		return fmt.Errorf("look for an administrator: %w", err)
	}
	if there {
		return errDeadLink()
	}
	return nil
}

// saveSetup makes the first administrator and logs it in. The link makes one administrator, even where that one is
// deleted later.
func (s *server) saveSetup(w http.ResponseWriter, r *http.Request) error {
	s.settingUp.Lock() // two at once must not make two
	defer s.settingUp.Unlock()
	if err := s.mayStillSetUp(r); err != nil {
		return err
	}
	v := setupView{
		Token: r.PostFormValue("token"), Username: nameIn(r), FullName: strings.TrimSpace(r.PostFormValue("full_name")),
	}
	password, fault := chosenPassword(r, "password")
	nameFault := dbmodel.CheckUsername(v.Username)
	switch {
	case nameFault != nil:
		v.Fault = "The name " + nameFault.Error() + "."
	case v.Username == dbmodel.Automation:
		v.Fault = "The name " + dbmodel.Automation + " is reserved: choose another one."
	case len([]rune(v.FullName)) > login.LongestFullName || strings.ContainsRune(v.FullName, 0):
		v.Fault = fmt.Sprintf("The full name must have at most %d characters.", login.LongestFullName)
	default:
		v.Fault = fault
	}
	if v.Fault != "" {
		return s.renderSetup(w, r, http.StatusUnprocessableEntity, v)
	}
	hash, err := login.HashPassword(password)
	if err != nil {
		return fmt.Errorf("hash a password: %w", err)
	}
	var id int64
	err = s.db.InTx(r.Context(), func(ctx context.Context, tx bun.Tx) (err error) {
		id, err = addAdministrator(ctx, tx, v.Username, v.FullName, hash)
		return err
	})
	if errors.Is(err, dbmodel.ErrConflict) {
		v.Fault = "There is a user with this name already: choose another one."
		return s.renderSetup(w, r, http.StatusUnprocessableEntity, v)
	}
	if err != nil {
		return fmt.Errorf("make the first administrator: %w", err)
	}
	s.wasSetUp.Store(true)
	s.auditOf(r.Context(), "administrator_made", v.Username).Msg("the first administrator was made")
	if err := s.logIn(r, dbmodel.NewSession{UserID: id, PasswordHash: hash}); err != nil {
		return err
	}
	s.loggedIn(w, r, "/")
	return nil
}

// addAdministrator adds an administrator. The error is dbmodel.ErrConflict where the name belongs to a user already:
// the link takes over no account.
func addAdministrator(ctx context.Context, tx bun.Tx, name, fullName, hash string) (int64, error) {
	u, isNew, err := dbmodel.EnsuredUser(ctx, tx, name)
	if err == nil && !isNew {
		err = dbmodel.ErrConflict
	}
	if err != nil {
		return 0, err
	}
	u.FullName, u.IsAdmin = fullName, true
	if err := dbmodel.SaveUser(ctx, tx, u); err != nil {
		return 0, err
	}
	return u.ID, dbmodel.SetPassword(ctx, tx, u.ID, hash)
}
