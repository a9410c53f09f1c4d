DROP INDEX users_oidc;

--bun:split
ALTER TABLE users DROP COLUMN oidc_subject;

--bun:split
ALTER TABLE users DROP COLUMN oidc_issuer;

--bun:split
DROP TABLE sessions;
