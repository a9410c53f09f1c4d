-- Runs of cron tasks. A slot is inserted once over all schedulers. attempts is the token of the newest claim; nobody may
-- claim a run before run_after. queued_at: when a task for it was last enqueued; a claim empties it.
CREATE TABLE periodic_tasks (
    id          bigserial PRIMARY KEY,
    task        text NOT NULL,
    slot        timestamptz NOT NULL,
    started_at  timestamptz,
    duration_ms bigint,
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'succeeded', 'failed')),
    message     text NOT NULL DEFAULT '',
    attempts    integer NOT NULL DEFAULT 0,
    run_after   timestamptz NOT NULL DEFAULT 'epoch',
    queued_at   timestamptz,
    UNIQUE (task, slot)
);

--bun:split
CREATE INDEX periodic_tasks_waiting ON periodic_tasks (id) WHERE status IN ('pending', 'running');

--bun:split
-- cleanup: no slot before this was missed. deletion: when somebody deleted notifications last.
INSERT INTO ticks (name, next_at) VALUES ('cleanup', clock_timestamp()), ('deletion', clock_timestamp());
