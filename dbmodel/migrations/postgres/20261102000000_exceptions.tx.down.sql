ALTER TABLE products DROP COLUMN security_gate_stated_at;

--bun:split
ALTER TABLE observations DROP COLUMN stated_at;

--bun:split
ALTER TABLE notifications DROP COLUMN own;

--bun:split
DROP TABLE suppressions;
