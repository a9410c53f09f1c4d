package dbmodel

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Automation is the reserved user that TOCSIN_ADMIN_TOKEN belongs to. The migrations make it, and nobody changes it.
const Automation = "automation"

// automationID is the id of Automation: the migration that makes the table gives it the first one.
const automationID = 1

// AutomationViewer is Automation as somebody who looks. It needs no look into the database.
func AutomationViewer() Viewer {
	return Viewer{UserID: automationID, Username: Automation, Admin: true}
}

// User is somebody, or a program, that may log in or has tokens.
type User struct {
	bun.BaseModel `bun:"table:users,alias:users"`

	ID           int64 `bun:",pk,autoincrement"`
	Username     string
	FullName     string
	Email        string
	IsAdmin      bool
	PasswordHash string    // of HashPassword's form; empty: no password opens it
	OIDCIssuer   string    `bun:",nullzero"` // with OIDCSubject who the user is there; empty: has never logged in so
	OIDCSubject  string    `bun:",nullzero"`
	ViewedUntil  time.Time `bun:",nullzero"` // what was created until then counts as viewed
	CreatedAt    time.Time `bun:",nullzero"`
}

// Viewer is the user as somebody who looks.
func (u *User) Viewer() Viewer { return Viewer{UserID: u.ID, Username: u.Username, Admin: u.IsAdmin} }

var usernamePattern = regexp.MustCompile(`^[A-Za-z0-9._@+-]{1,150}$`)

// ValidUsername reports whether a user may have this name. "." and ".." could not be named in the path of a URL.
func ValidUsername(name string) bool {
	return usernamePattern.MatchString(name) && name != "." && name != ".."
}

// UserByName returns ErrNotFound where there is none. Names are compared byte for byte.
func UserByName(ctx context.Context, db bun.IDB, name string) (*User, error) {
	u := new(User)
	return u, Translate(db.NewSelect().Model(u).Where("username = ?", name).Scan(ctx))
}

// UserBySubject returns who somebody is that an OpenID Connect provider knows as subject, ErrNotFound where nobody is.
func UserBySubject(ctx context.Context, db bun.IDB, issuer, subject string) (*User, error) {
	u := new(User)
	return u, Translate(db.NewSelect().Model(u).Where("oidc_issuer = ? AND oidc_subject = ?", issuer, subject).Scan(ctx))
}

// SetSubject stores who a user is at an OpenID Connect provider. It returns ErrConflict where another user is that already.
func SetSubject(ctx context.Context, tx bun.Tx, userID int64, issuer, subject string) error {
	_, err := execCount(ctx, tx, "UPDATE users SET oidc_issuer = $1, oidc_subject = $2 WHERE id = $3", issuer, subject, userID)
	return err
}

// UserForUpdate is UserByName that keeps others from changing the user until the transaction ends.
func UserForUpdate(ctx context.Context, tx bun.Tx, name string) (*User, error) {
	u := new(User)
	return u, Translate(locked(tx.NewSelect().Model(u).Where("username = ?", name)).Scan(ctx))
}

// EnsuredUser is UserForUpdate that makes the user where there is none with this name, and says whether it did.
func EnsuredUser(ctx context.Context, tx bun.Tx, name string) (u *User, isNew bool, err error) {
	for {
		if isNew, err = AddUser(ctx, tx, name); err != nil {
			return nil, false, err
		}
		if u, err = UserForUpdate(ctx, tx, name); !errors.Is(err, ErrNotFound) {
			return u, isNew, err
		}
		// Somebody deleted the one that was in the way.
	}
}

// Users lists up to limit users with a name behind after, by name.
func Users(ctx context.Context, db bun.IDB, after string, limit int) ([]User, error) {
	var list []User
	return list, Translate(db.NewSelect().Model(&list).Where(byteOrder(db, "username")+" > ?", after).OrderExpr(byteOrder(db, "username")).Limit(int64(limit)).Scan(ctx))
}

// AddUser stores a user of which nothing but the name is known, where there is none with this name. It reports whether
// there was none.
func AddUser(ctx context.Context, db bun.IDB, name string) (bool, error) {
	n, err := execCount(ctx, db, "INSERT INTO users (username) VALUES ($1) ON CONFLICT (username) DO NOTHING", name)
	return n > 0, err
}

// SaveUser stores full name, email and whether the user is an administrator. Where the email of a user changes who may have
// subscriptions, FollowEmail comes after it.
func SaveUser(ctx context.Context, db bun.IDB, u *User) error {
	identity, err := rule.EmailIdentity(u.Email)
	if err != nil {
		identity = "" // the address is that of no contact
	}
	_, err = execCount(ctx, db, "UPDATE users SET full_name = $1, email = $2, email_identity = $3, is_admin = $4 WHERE id = $5",
		u.FullName, u.Email, identity, u.IsAdmin, u.ID)
	return err
}

// SetPassword stores the hash of a user's password and ends the user's sessions.
func SetPassword(ctx context.Context, tx bun.Tx, userID int64, hash string) error {
	if _, err := execCount(ctx, tx, "UPDATE users SET password_hash = $1 WHERE id = $2", hash, userID); err != nil {
		return err
	}
	_, err := execCount(ctx, tx, "DELETE FROM sessions WHERE user_id = $1", userID)
	return err
}

// HasAdministrator reports whether there is an administrator other than Automation.
func HasAdministrator(ctx context.Context, db bun.IDB) (there bool, err error) {
	err = raw(db).QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM users WHERE is_admin AND id <> $1)", automationID).Scan(&there)
	return there, Translate(err)
}

// DeleteUser deletes a user, and with it what belongs to it: sessions, tokens, memberships, and its marks, which may be many
// and which a worker removes in batches. It returns ErrNotFound where there is none, and needs a transaction.
func DeleteUser(ctx context.Context, tx bun.IDB, id int64) error {
	n, err := exec(ctx, tx, "DELETE FROM users WHERE id = @id", args{"id": id})
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrNotFound
	}
	_, err = exec(ctx, tx, "INSERT INTO deletions (user_id) VALUES (@id)", args{"id": id})
	return err
}

// FullNameOf returns the full name of the user with this email address, compared by rule.EmailIdentity; empty where there
// is none, or where several users with different names share it.
func FullNameOf(ctx context.Context, db bun.IDB, email string) (string, error) {
	identity, err := rule.EmailIdentity(email)
	if err != nil {
		return "", nil //nolint:nilerr // no user has such an address
	}
	names, err := collect(ctx, db, func(rows *sql.Rows) (name string, err error) {
		err = rows.Scan(&name)
		return name, err
	}, "SELECT DISTINCT full_name FROM users WHERE email_identity = $1 AND email_identity <> '' LIMIT 2", identity)
	if err != nil || len(names) != 1 {
		return "", err
	}
	return names[0], nil
}
