package dbmodel

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// NewSession is a session that begins because somebody has proved who they are.
type NewSession struct {
	UserID int64
	// PasswordHash is what the password was compared with; empty where another proved it. With another password since then
	// no session begins.
	PasswordHash string
}

// sessionHash is how a session is stored: who reads the database must not be able to go on with it.
func sessionHash(token string) []byte {
	hash := sha256.Sum256([]byte(token)) // of random bytes: a slow hash would add nothing
	return hash[:]
}

// AddSession stores a session that begins. It returns ErrNotFound where the user is gone or the password another one.
func AddSession(ctx context.Context, db bun.IDB, s NewSession, token string, data []byte, expires time.Time) error {
	lock := " FOR SHARE" // a change of the password ends the sessions that it sees
	if isSQLite(db) {
		lock = ""
	}
	n, err := execCount(ctx, db, `INSERT INTO sessions (hash, user_id, data, expires_at)
		SELECT $1, id, $2, $3 FROM users WHERE id = $4 AND ($5 = '' OR password_hash = $5)`+lock,
		sessionHash(token), data, timeArg(db, expires), s.UserID, s.PasswordHash)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// SaveSession stores what a session remembers. One that was ended meanwhile stays so.
func SaveSession(ctx context.Context, db bun.IDB, token string, data []byte, expires time.Time) error {
	_, err := execCount(ctx, db, "UPDATE sessions SET data = $2, expires_at = $3 WHERE hash = $1", sessionHash(token), data, timeArg(db, expires))
	return err
}

// SessionData returns what a session remembers; found is false where there is none, or it has expired.
func SessionData(ctx context.Context, db bun.IDB, token string) (data []byte, found bool, err error) {
	err = raw(db).QueryRowContext(ctx, "SELECT data FROM sessions WHERE hash = $1 AND expires_at > "+now(db), sessionHash(token)).Scan(&data)
	if err = Translate(err); errors.Is(err, ErrNotFound) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// ViewerBySession returns who comes with this session, ErrNotFound where there is none, or it has expired.
func ViewerBySession(ctx context.Context, db bun.IDB, token string) (v Viewer, err error) {
	err = raw(db).QueryRowContext(ctx, `SELECT u.id, u.username, u.is_admin FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE s.hash = $1 AND s.expires_at > `+now(db), sessionHash(token)).Scan(&v.UserID, &v.Username, &v.Admin)
	return v, Translate(err)
}

// EndSession removes a session.
func EndSession(ctx context.Context, db bun.IDB, token string) error {
	_, err := execCount(ctx, db, "DELETE FROM sessions WHERE hash = $1", sessionHash(token))
	return err
}

// DeleteOldSessions removes sessions that have expired.
func DeleteOldSessions(ctx context.Context, db bun.IDB) (int64, error) {
	return execCount(ctx, db, "DELETE FROM sessions WHERE expires_at <= "+now(db))
}
