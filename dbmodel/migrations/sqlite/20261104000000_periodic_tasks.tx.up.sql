-- Runs of cron tasks. A slot is inserted once over all schedulers. attempts is the token of the newest claim; nobody may
-- claim a run before run_after. queued_at: when a task for it was last enqueued; a claim empties it.
CREATE TABLE periodic_tasks (
    id          integer PRIMARY KEY AUTOINCREMENT,
    task        text NOT NULL,
    slot        timestamp NOT NULL,
    started_at  timestamp,
    duration_ms bigint,
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'succeeded', 'failed')),
    message     text NOT NULL DEFAULT '',
    attempts    integer NOT NULL DEFAULT 0,
    run_after   timestamp NOT NULL DEFAULT 0,
    queued_at   timestamp,
    UNIQUE (task, slot)
);

--bun:split
CREATE INDEX periodic_tasks_waiting ON periodic_tasks (id) WHERE status IN ('pending', 'running');

--bun:split
-- cleanup: no slot before this was missed. deletion: when somebody deleted notifications last.
INSERT INTO ticks (name, next_at) VALUES ('cleanup', CAST(unixepoch('subsec') * 1000000 AS INTEGER)), ('deletion', CAST(unixepoch('subsec') * 1000000 AS INTEGER));
