package dbmodel

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"time"

	"github.com/uptrace/bun"
)

// Scope is what a token is good for.
type Scope string

// Scopes.
const (
	ScopeIngest Scope = "ingest" // to report events, in any product, and nothing else
	ScopeUser   Scope = "user"   // to do whatever its user may
)

// tokenPrefix lets people, and programs that look for leaked secrets, know a token when they see one.
const tokenPrefix = "tocsin_"

// Token is an API token, without the token itself: of that only the hash is stored.
type Token struct {
	ID        int64
	Username  string
	Scope     Scope
	CreatedAt time.Time
	ExpiresAt *time.Time // nil: never
	Expired   bool
}

// CreateToken makes a token of a user and returns it. It is shown once: nobody can read it afterwards.
func CreateToken(ctx context.Context, db bun.IDB, userID int64, scope Scope, expires *time.Time) (token string, id int64, err error) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	hash := sha256.Sum256([]byte(token))
	err = raw(db).QueryRowContext(ctx, "INSERT INTO tokens (user_id, hash, scope, expires_at) VALUES ($1, $2, $3, $4) RETURNING id",
		userID, hash[:], string(scope), expires).Scan(&id)
	return token, id, Translate(err)
}

// ViewerByToken returns who comes with this token, ErrNotFound where it is unknown, revoked or expired. With ScopeIngest that
// is not its user, whatever the user may.
func ViewerByToken(ctx context.Context, db bun.IDB, token string) (Viewer, error) {
	hash := sha256.Sum256([]byte(token)) // of random bytes: a slow hash would add nothing
	var v Viewer
	var scope Scope
	err := raw(db).QueryRowContext(ctx, `SELECT u.id, u.username, u.is_admin, t.scope FROM tokens t JOIN users u ON u.id = t.user_id
		WHERE t.hash = $1 AND (t.expires_at IS NULL OR t.expires_at > `+now(db)+`)`, hash[:]).Scan(&v.UserID, &v.Username, &v.Admin, &scope)
	switch {
	case err != nil:
		return Viewer{}, Translate(err)
	case scope != ScopeUser:
		return Viewer{Username: v.Username, Ingest: scope == ScopeIngest}, nil
	}
	return v, nil
}

// Tokens lists all tokens, by id.
func Tokens(ctx context.Context, db bun.IDB) ([]Token, error) {
	return collect(ctx, db, func(rows *sql.Rows) (t Token, err error) {
		var created, expires instant
		err = rows.Scan(&t.ID, &t.Username, &t.Scope, &created, &expires, &t.Expired)
		t.CreatedAt, t.ExpiresAt = created.Time, expires.pointer()
		return t, err
	}, `SELECT t.id, u.username, t.scope, t.created_at, t.expires_at, coalesce(t.expires_at <= `+now(db)+`, FALSE)
		FROM tokens t JOIN users u ON u.id = t.user_id ORDER BY t.id`)
}

// RevokeToken removes a token: it opens nothing any more. It returns ErrNotFound where there is none.
func RevokeToken(ctx context.Context, db bun.IDB, id int64) error {
	n, err := execCount(ctx, db, "DELETE FROM tokens WHERE id = $1", id)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}
