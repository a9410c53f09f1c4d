package dbmodel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Automation is the reserved user that TOCSIN_ADMIN_TOKEN belongs to. The migrations make it, and it never changes.
const Automation = "automation"

// automationID is the id of Automation: the migration that makes the table gives it the first one.
const automationID = 1

// AutomationViewer is Automation as a Viewer. It needs no look into the database.
func AutomationViewer() Viewer {
	return Viewer{UserID: automationID, Username: Automation, Admin: true}
}

// User is a person or a program that may log in or has tokens.
type User struct {
	bun.BaseModel `bun:"table:users,alias:users"`

	ID           int64 `bun:",pk,autoincrement"`
	Username     string
	FullName     string
	Email        string
	IsAdmin      bool
	PasswordHash string    // in the form of login.HashPassword; empty: no password lets the user in
	OIDCIssuer   string    `bun:",nullzero"` // an OpenID Connect provider; empty: the user has never logged in there
	OIDCSubject  string    `bun:",nullzero"` // by which that provider knows the user
	ViewedUntil  time.Time `bun:",nullzero"` // notifications created until then count as viewed
	CreatedAt    time.Time `bun:",nullzero"`
}

// Viewer is the user as a Viewer.
func (u *User) Viewer() Viewer { return Viewer{UserID: u.ID, Username: u.Username, Admin: u.IsAdmin} }

// longestUsername is how many characters the name of a user has at the most.
const longestUsername = 150

// CheckUsername returns why no user may have this name, nil where one may. A character that is refused may be
// invisible, or look like one that is not: the error names it by its code and its position, counted in characters from
// 1. "." and ".." could not be named in the path of a URL.
func CheckUsername(name string) error {
	const form = "must be 1 to %d letters (A to Z, a to z), digits and . _ @ + -"
	at := 0
	for _, r := range name {
		at++
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._@+-", r) {
			return fmt.Errorf(form+"; %U at position %d is none of these", longestUsername, r, at)
		}
	}
	if at == 0 || at > longestUsername || name == "." || name == ".." {
		return fmt.Errorf(form+", and not . or .. alone", longestUsername)
	}
	return nil
}

// UserByName returns the user with this name, compared byte for byte; ErrNotFound where there is none.
func UserByName(ctx context.Context, db bun.IDB, name string) (*User, error) {
	u := new(User)
	return u, Translate(db.NewSelect().Model(u).Where("username = ?", name).Scan(ctx))
}

// UserBySubject returns the user that an OpenID Connect provider knows as subject, ErrNotFound where there is none.
func UserBySubject(ctx context.Context, db bun.IDB, issuer, subject string) (*User, error) {
	u := new(User)
	return u, Translate(db.NewSelect().Model(u).Where("oidc_issuer = ? AND oidc_subject = ?", issuer, subject).Scan(ctx))
}

// SetSubject stores the subject by which an OpenID Connect provider knows a user. It returns ErrConflict where that is
// the subject of another user.
func SetSubject(ctx context.Context, tx bun.Tx, userID int64, issuer, subject string) error {
	_, err := exec(ctx, tx, `UPDATE users SET oidc_issuer = @issuer, oidc_subject = @subject WHERE id = @user`,
		args{"issuer": issuer, "subject": subject, "user": userID})
	return err
}

// UserForUpdate is UserByName that keeps others from changing the user until the transaction ends.
func UserForUpdate(ctx context.Context, tx bun.Tx, name string) (*User, error) {
	u := new(User)
	return u, Translate(locked(tx.NewSelect().Model(u).Where("username = ?", name)).Scan(ctx))
}

// EnsuredUser is UserForUpdate, but adds the user where there is none with this name; isNew reports whether it did.
func EnsuredUser(ctx context.Context, tx bun.Tx, name string) (u *User, isNew bool, err error) {
	for {
		if isNew, err = AddUser(ctx, tx, name); err != nil {
			return nil, false, err
		}
		if u, err = UserForUpdate(ctx, tx, name); !errors.Is(err, ErrNotFound) {
			return u, isNew, err
		}
		// The user that AddUser found was deleted meanwhile.
	}
}

// Users lists up to limit users with a name behind after, by name.
func Users(ctx context.Context, db bun.IDB, after string, limit int) ([]User, error) {
	var list []User
	name := byteOrder(db, "username")
	err := db.NewSelect().Model(&list).Where(name+" > ?", after).OrderExpr(name).Limit(int64(limit)).Scan(ctx)
	return list, Translate(err)
}

// AddUser stores a user of which nothing but the name is known, where there is none with this name. It reports whether
// there was none.
func AddUser(ctx context.Context, db bun.IDB, name string) (bool, error) {
	n, err := exec(ctx, db, `INSERT INTO users (username) VALUES (@name) ON CONFLICT (username) DO NOTHING`,
		args{"name": name})
	return n > 0, err
}

const saveUser = `
	UPDATE users SET full_name = @full_name, email = @email, email_identity = @identity, is_admin = @is_admin
	WHERE id = @user`

// SaveUser stores full name, email and whether the user is an administrator. Where the email changes and the user may
// have subscriptions, the caller calls FollowEmail next.
func SaveUser(ctx context.Context, db bun.IDB, u *User) error {
	identity, err := rule.EmailIdentity(u.Email)
	if err != nil {
		identity = "" // the address is that of no contact
	}
	_, err = exec(ctx, db, saveUser,
		args{"user": u.ID, "full_name": u.FullName, "email": u.Email, "identity": identity, "is_admin": u.IsAdmin})
	return err
}

// SetPassword stores the hash of a user's password and ends the user's sessions.
func SetPassword(ctx context.Context, tx bun.Tx, userID int64, hash string) error {
	_, err := exec(ctx, tx, `UPDATE users SET password_hash = @hash WHERE id = @user`, args{"hash": hash, "user": userID})
	if err != nil {
		return err
	}
	_, err = exec(ctx, tx, `DELETE FROM sessions WHERE user_id = @user`, args{"user": userID})
	return err
}

const hasAdministrator = `
	SELECT EXISTS (SELECT 1 FROM users AS u WHERE u.is_admin AND u.id <> @automation
		AND (u.password_hash <> '' OR u.oidc_subject IS NOT NULL OR NOT EXISTS (
			SELECT 1 FROM secobserve_users AS s WHERE s.user_id = u.id AND s.local_admin IS NOT TRUE)))`

// HasAdministrator reports whether there is an administrator other than Automation. One that only SecObserve made an
// administrator counts with a password, or once logged in through OpenID Connect: superusers of SecObserve that cannot
// log in here leave the setup open.
func HasAdministrator(ctx context.Context, db bun.IDB) (there bool, err error) {
	return queryOne[bool](ctx, db, hasAdministrator, args{"automation": automationID})
}

// DeleteUser deletes a user with the user's sessions, tokens, memberships and subscriptions. A worker removes, in
// batches, the rows of the user in notification_views: they may be many. It returns ErrNotFound where there is no such
// user.
func DeleteUser(ctx context.Context, tx bun.Tx, id int64) error {
	if err := execOne(ctx, tx, `DELETE FROM users WHERE id = @id`, args{"id": id}); err != nil {
		return err
	}
	_, err := exec(ctx, tx, `INSERT INTO deletions (user_id) VALUES (@id)`, args{"id": id})
	return err
}

const fullNames = `
	SELECT DISTINCT full_name FROM users WHERE email_identity = @identity AND email_identity <> '' LIMIT 2`

// FullNameOf returns the full name of the user with this email address, compared by rule.EmailIdentity; empty where
// there is none, or where several users with different names share it.
func FullNameOf(ctx context.Context, db bun.IDB, email string) (string, error) {
	identity, err := rule.EmailIdentity(email)
	if err != nil {
		return "", nil //nolint:nilerr // no user has such an address
	}
	names, err := queryAll[string](ctx, db, fullNames, args{"identity": identity})
	if err != nil || len(names) != 1 {
		return "", err
	}
	return names[0], nil
}

// RenameUser gives a user another name. It returns ErrConflict where another user has it.
func RenameUser(ctx context.Context, tx bun.Tx, userID int64, name string) error {
	_, err := exec(ctx, tx, "UPDATE users SET username = @name WHERE id = @user", args{"name": name, "user": userID})
	return err
}

// EndAccess ends the sessions of a user and revokes the tokens.
func EndAccess(ctx context.Context, tx bun.Tx, userID int64) error {
	for _, statement := range []string{
		"DELETE FROM sessions WHERE user_id = @user",
		"DELETE FROM tokens WHERE user_id = @user",
	} {
		if _, err := exec(ctx, tx, statement, args{"user": userID}); err != nil {
			return err
		}
	}
	return nil
}
