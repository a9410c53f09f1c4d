package dbmodel

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// NewSession is a session that begins because a user has logged in.
type NewSession struct {
	UserID int64
	// PasswordHash is the hash that the password was compared with; empty where an OpenID Connect provider logged the
	// user in. Where the password has changed since then, no session begins.
	PasswordHash string
}

// sessionHash returns the hash that is stored of a session: a reader of the database must not be able to use the
// session.
func sessionHash(token string) []byte {
	hash := sha256.Sum256([]byte(token)) // of random bytes: a slow hash would add nothing
	return hash[:]
}

// insertSession locks the user: a change of the password waits until this session is stored, and then ends it.
const insertSession = `
	INSERT INTO sessions (hash, user_id, data, expires_at)
	SELECT @hash, id, @data, @expires FROM users
	WHERE id = @user AND (@password = '' OR password_hash = @password) FOR SHARE`

// AddSession stores a session that begins. It returns ErrNotFound where the user is gone or has another password by
// now.
func AddSession(ctx context.Context, db bun.IDB, s NewSession, token string, data []byte, expires time.Time) error {
	return execOne(ctx, db, insertSession, args{
		"hash": sessionHash(token), "data": data, "expires": expires, "user": s.UserID, "password": s.PasswordHash,
	})
}

// SaveSession stores the data of a session. One that was ended meanwhile stays ended.
func SaveSession(ctx context.Context, db bun.IDB, token string, data []byte, expires time.Time) error {
	_, err := exec(ctx, db, `UPDATE sessions SET data = @data, expires_at = @expires WHERE hash = @hash`,
		args{"hash": sessionHash(token), "data": data, "expires": expires})
	return err
}

// SessionData returns the data of a session; found is false where there is none, or it has expired.
func SessionData(ctx context.Context, db bun.IDB, token string) (data []byte, found bool, err error) {
	data, err = queryOne[[]byte](ctx, db,
		`SELECT data FROM sessions WHERE hash = @hash AND expires_at > clock_timestamp()`,
		args{"hash": sessionHash(token)})
	if errors.Is(err, ErrNotFound) {
		return nil, false, nil
	}
	return data, err == nil, err
}

const viewerBySession = `
	SELECT u.id AS user_id, u.username, u.is_admin AS admin FROM sessions s JOIN users u ON u.id = s.user_id
	WHERE s.hash = @hash AND s.expires_at > clock_timestamp()`

// ViewerBySession returns the user of a session, ErrNotFound where there is no such session, or it has expired.
func ViewerBySession(ctx context.Context, db bun.IDB, token string) (v Viewer, err error) {
	return queryOne[Viewer](ctx, db, viewerBySession, args{"hash": sessionHash(token)})
}

// EndSession removes a session.
func EndSession(ctx context.Context, db bun.IDB, token string) error {
	_, err := exec(ctx, db, `DELETE FROM sessions WHERE hash = @hash`, args{"hash": sessionHash(token)})
	return err
}

// DeleteOldSessions removes sessions that have expired.
func DeleteOldSessions(ctx context.Context, db bun.IDB) (int64, error) {
	return exec(ctx, db, `DELETE FROM sessions WHERE expires_at <= clock_timestamp()`, nil)
}
