-- Occurrences of an exception that were held back since it was last notified; key is the one it is claimed under in Redis.
CREATE TABLE suppressions (
    key   text PRIMARY KEY,
    count integer NOT NULL,
    since timestamp NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER))
);

--bun:split
-- Told by Tocsin of itself: a failure to deliver it is not told again.
ALTER TABLE notifications ADD COLUMN own boolean NOT NULL DEFAULT false;

--bun:split
-- When the web tier stated what is stored, where it came through Redis alone; an older statement is passed over.
ALTER TABLE observations ADD COLUMN stated_at timestamp;

--bun:split
ALTER TABLE products ADD COLUMN security_gate_stated_at timestamp;
