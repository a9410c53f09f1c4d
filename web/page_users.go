package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/web/input"
	"github.com/seed91453169/tocsin/web/login"
)

const usersPath = "/users"

// userList is the page of the users.
type userList struct {
	Rows  []userRow
	Older string
	First string
	Add   []formField
}

type userRow struct {
	userAnswer
	Path     string
	Reserved bool
}

// userPage is the page of one user.
type userPage struct {
	userRow
	Fields      []formField
	HasPassword bool
	Password    string // a new one, shown once
	Tokens      []dbmodel.Token
	Token       string // a new one, shown once
	TokenFields []formField
}

func userPath(name string) string { return usersPath + "/" + name } // its letters need no escaping

func userRowOf(a userAnswer) userRow {
	return userRow{a, userPath(a.Username), a.Username == dbmodel.Automation}
}

func (s *server) loadUsers(r *http.Request) (*userList, error) {
	cursor := r.URL.Query().Get("after")
	list, err := s.apiListUsers(r.Context(), &ListParams{Limit: rowsOfPage, Cursor: cursor})
	if err != nil {
		return nil, err
	}
	out := &userList{
		Add: append([]formField{
			{Name: "username", Label: "Name", Kind: textField, Help: "As they log in: letters, digits and . _ @ + -"},
		}, userForm(userAnswer{})...),
	}
	for _, u := range list.Body.Items {
		out.Rows = append(out.Rows, userRowOf(u))
	}
	if next := list.Body.NextCursor; next != nil {
		out.Older = withQuery(usersPath, "after", *next)
	}
	if cursor != "" {
		out.First = usersPath
	}
	return out, nil
}

func (s *server) showUsers(w http.ResponseWriter, r *http.Request) error {
	p, err := s.loadUsers(r)
	if err != nil {
		return err
	}
	return s.renderUsers(w, r, p, 0)
}

func (s *server) renderUsers(w http.ResponseWriter, r *http.Request, p *userList, status int) error {
	return s.render(w, r, view{status: status, template: "users", title: "Users", section: "settings", data: p})
}

// userForm are the fields of a user.
func userForm(u userAnswer) []formField {
	return []formField{
		{Name: "full_name", Label: "Full name", Kind: textField, Value: u.FullName, Help: "Mails greet by its first word."},
		{
			Name: "email", Label: "Email", Kind: textField, Value: u.Email,
			Help: "One address. Mails to it greet by name, and the user's own subscriptions send there.",
		},
		{
			Name: "is_admin", Label: "Administrator", Kind: checkField, Value: fmt.Sprint(u.IsAdmin),
			Help: "Sees and may do everything.",
		},
	}
}

// addUser makes a user with a password that is shown once.
func (s *server) addUser(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), nameIn(r)
	var sent userFields
	faults := input.ReadForm(r.PostForm, &sent)
	if err := dbmodel.CheckUsername(name); err != nil {
		faults.Add("username", err.Error())
	} else if _, err := dbmodel.UserByName(ctx, s.db.Reader, name); err == nil {
		faults.Add("username", "is taken: there is such a user already")
	} else if !errors.Is(err, dbmodel.ErrNotFound) {
		return fmt.Errorf("load user %s: %w", name, err)
	}
	var err error
	if faults != nil {
		err = invalid(faults...)
	} else {
		_, err = s.putUser(ctx, &UserParam{Username: name}, &sent, nil)
	}
	if refused, is := faultsIn(err); is {
		p, err := s.loadUsers(r)
		if err != nil {
			return err
		}
		typedAll(p.Add, r.PostForm, refused)
		return s.renderUsers(w, r, p, http.StatusUnprocessableEntity)
	}
	if err != nil {
		return err
	}
	s.notice(ctx, "The user "+name+" was added. Generate a password, or let them log in through OpenID Connect.")
	s.redirect(w, r, userPath(name))
	return nil
}

// loadUser reads the page of a user; 404 where there is none.
func (s *server) loadUser(r *http.Request) (*userPage, *dbmodel.User, error) {
	ctx, name := r.Context(), r.PathValue("username")
	if dbmodel.CheckUsername(name) != nil {
		return nil, nil, notFound("user")
	}
	u, err := dbmodel.UserByName(ctx, s.db.Reader, name)
	if err != nil {
		return nil, nil, missingUser(err, name)
	}
	tokens, err := dbmodel.Tokens(ctx, s.db.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("list tokens: %w", err)
	}
	a := showUser(u)
	return &userPage{
		userRow: userRowOf(a), Fields: userForm(a), HasPassword: u.PasswordHash != "",
		Tokens: slices.DeleteFunc(tokens, func(t dbmodel.Token) bool { return t.Username != name }),
		TokenFields: []formField{
			{
				Name: "scope", Label: "Scope", Kind: choiceField, Options: []option{
					{string(dbmodel.ScopeUser), "user: does what the user may", true},
					{
						string(dbmodel.ScopeIngest), "ingest: reports what happens, and keeps all products, groups, members and users",
						false,
					},
				},
				Help: "Programs of the web tier need ingest.",
			},
			{Name: "expires", Label: "Good until", Kind: timeField, Unit: "UTC", Help: "Empty: until it is revoked."},
		},
	}, u, nil
}

func (s *server) showUserPage(w http.ResponseWriter, r *http.Request) error {
	p, _, err := s.loadUser(r)
	if err != nil {
		return err
	}
	return s.renderUser(w, r, p, 0)
}

func (s *server) renderUser(w http.ResponseWriter, r *http.Request, p *userPage, status int) error {
	return s.render(w, r, view{status: status, template: "user", title: p.Username, section: "settings", data: p})
}

func (s *server) saveUser(w http.ResponseWriter, r *http.Request) error {
	p, _, err := s.loadUser(r)
	if err != nil {
		return err
	}
	var sent userFields
	faults := input.ReadForm(r.PostForm, &sent)
	_, err = s.putUser(r.Context(), &UserParam{Username: p.Username}, &sent, faults)
	if refused, is := faultsIn(err); is {
		typedAll(p.Fields, r.PostForm, refused)
		return s.renderUser(w, r, p, http.StatusUnprocessableEntity)
	}
	if err != nil {
		return err
	}
	s.notice(r.Context(), "Saved.")
	s.redirect(w, r, p.Path)
	return nil
}

// deleteUser asks first: without the box that says so nothing is deleted.
func (s *server) deleteUser(w http.ResponseWriter, r *http.Request) error {
	p, _, err := s.loadUser(r)
	if err != nil {
		return err
	}
	if r.PostForm.Get("sure") == "" {
		s.notice(r.Context(), "Nothing was deleted: check the box that says that you are sure.")
		s.redirect(w, r, p.Path)
		return nil
	}
	if _, err := s.apiDeleteUser(r.Context(), &UserParam{Username: p.Username}); err != nil {
		return err
	}
	s.notice(r.Context(), "The user "+p.Username+" was deleted.")
	s.redirect(w, r, usersPath)
	return nil
}

// renewPassword makes a password up and shows it once. The sessions of the user end.
func (s *server) renewPassword(w http.ResponseWriter, r *http.Request) error {
	p, u, err := s.loadUser(r)
	if err != nil {
		return err
	}
	if err := notReserved(u.Username); err != nil {
		return err
	}
	password := rand.Text() // 26 characters, 130 bits
	hash, err := login.HashPassword(password)
	if err != nil {
		return fmt.Errorf("hash a password: %w", err)
	}
	err = s.db.InTx(r.Context(), func(ctx context.Context, tx bun.Tx) error {
		return dbmodel.SetPassword(ctx, tx, u.ID, hash)
	})
	if err != nil {
		return fmt.Errorf("store the password of %s: %w", u.Username, err)
	}
	s.audit(r.Context(), "password_changed").Str("of", u.Username).Msg("a password was generated")
	p.Password, p.HasPassword = password, true
	return s.renderUser(w, r, p, 0)
}

// createToken makes a token and shows it once.
func (s *server) createToken(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p, u, err := s.loadUser(r)
	if err != nil {
		return err
	}
	if err := notReserved(u.Username); err != nil {
		return err
	}
	scope := queryWord(r, "scope", []dbmodel.Scope{dbmodel.ScopeUser, dbmodel.ScopeIngest})
	var faults input.Faults
	if scope == "" {
		faults.Add("scope", "must be user or ingest")
	}
	expires, message, err := s.expiry(ctx, queryText(r, "expires"))
	if err != nil {
		return err
	}
	if message != "" {
		faults.Add("expires", message)
	}
	if faults != nil {
		refused, _ := faultsIn(invalid(faults...))
		typedAll(p.TokenFields, r.PostForm, refused)
		return s.renderUser(w, r, p, http.StatusUnprocessableEntity)
	}
	token, id, err := dbmodel.CreateToken(ctx, s.db, u.ID, scope, expires)
	if errors.Is(err, dbmodel.ErrConflict) { // the user was deleted in this moment
		return errNoUser
	}
	if err != nil {
		return fmt.Errorf("store a token of %s: %w", u.Username, err)
	}
	s.audit(ctx, "token_created").Int64("id", id).Str("of", u.Username).Str("scope", string(scope)).
		Msg("a token was created")
	if p, _, err = s.loadUser(r); err != nil { // with the new one in the list
		return err
	}
	p.Token = token
	return s.renderUser(w, r, p, 0)
}

// expiry reads when a token ends; nil: never. message says what is wrong with it.
func (s *server) expiry(ctx context.Context, text string) (at *time.Time, message string, err error) {
	if text == "" {
		return nil, "", nil
	}
	t, ok := input.ParseTime(input.FormTime(text, time.UTC))
	if !ok {
		return nil, "must be a date with a time, like 2030-01-31T08:00", nil
	}
	now, err := dbmodel.DatabaseNow(ctx, s.db.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("ask the database for the time: %w", err)
	}
	if !t.After(now) {
		return nil, "is over already: choose a time to come", nil
	}
	return &t, "", nil
}

func (s *server) revokeToken(w http.ResponseWriter, r *http.Request) error {
	p, _, err := s.loadUser(r)
	if err != nil {
		return err
	}
	id, err := idInPath(r, "token")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(p.Tokens, func(t dbmodel.Token) bool { return t.ID == id }) {
		return notFound("token")
	}
	if err := dbmodel.RevokeToken(r.Context(), s.db, id); err != nil {
		return missing(err, "token", id)
	}
	s.audit(r.Context(), "token_revoked").Int64("id", id).Str("of", p.Username).Msg("a token was revoked")
	s.notice(r.Context(), "The token was revoked: it opens nothing any more.")
	s.redirect(w, r, p.Path)
	return nil
}
