-- Who has logged in with a browser, as the SHA-256 of what the cookie holds.
CREATE TABLE sessions (
    hash       blob PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    data       blob NOT NULL,
    expires_at timestamp NOT NULL
);

--bun:split
CREATE INDEX sessions_user_id ON sessions (user_id);

--bun:split
CREATE INDEX sessions_expires_at ON sessions (expires_at);

--bun:split
-- Who somebody is at the OpenID Connect provider; both or neither.
ALTER TABLE users ADD COLUMN oidc_issuer text;

--bun:split
ALTER TABLE users ADD COLUMN oidc_subject text;

--bun:split
CREATE UNIQUE INDEX users_oidc ON users (oidc_issuer, oidc_subject);
