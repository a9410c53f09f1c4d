package dbmodel

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/uptrace/bun"
)

// Scope is what a token is good for.
type Scope string

// Scopes of tokens.
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

const insertToken = `
	INSERT INTO tokens (user_id, hash, scope, expires_at) VALUES (@user, @hash, @scope, @expires) RETURNING id`

// CreateToken makes a token of a user and returns it. It cannot be read afterwards.
func CreateToken(
	ctx context.Context, db bun.IDB, userID int64, scope Scope, expires *time.Time,
) (token string, id int64, err error) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	hash := sha256.Sum256([]byte(token))
	id, err = queryOne[int64](ctx, db, insertToken,
		args{"user": userID, "hash": hash[:], "scope": string(scope), "expires": expires})
	return token, id, err
}

const userByToken = `
	SELECT u.id AS user_id, u.username, u.is_admin AS admin, t.scope FROM tokens t JOIN users u ON u.id = t.user_id
	WHERE t.hash = @hash AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())`

// ViewerByToken returns the user of a token, ErrNotFound where it is unknown, revoked or expired. For a token with
// ScopeIngest the Viewer is a program without the rights of the user.
func ViewerByToken(ctx context.Context, db bun.IDB, token string) (Viewer, error) {
	hash := sha256.Sum256([]byte(token)) // of random bytes: a slow hash would add nothing
	found, err := queryOne[struct {
		Viewer
		Scope Scope
	}](ctx, db, userByToken, args{"hash": hash[:]})
	switch {
	case err != nil:
		return Viewer{}, err
	case found.Scope != ScopeUser:
		return Viewer{Username: found.Username, Ingest: found.Scope == ScopeIngest}, nil
	}
	return found.Viewer, nil
}

const allTokens = `
	SELECT t.id, u.username, t.scope, t.created_at, t.expires_at, t.expires_at <= clock_timestamp() AS expired
	FROM tokens t JOIN users u ON u.id = t.user_id ORDER BY t.id`

// Tokens lists all tokens, by id.
func Tokens(ctx context.Context, db bun.IDB) ([]Token, error) {
	return queryAll[Token](ctx, db, allTokens, nil)
}

// RevokeToken removes a token: it opens nothing any more. It returns ErrNotFound where there is none.
func RevokeToken(ctx context.Context, db bun.IDB, id int64) error {
	return execOne(ctx, db, `DELETE FROM tokens WHERE id = @id`, args{"id": id})
}
