-- Named things that are sealed with TOCSIN_SECRET_KEY, such as the key of the hash that addresses targets.
CREATE TABLE secrets (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);

--bun:split
-- Where messages go: one row for each email address and webhook URL. address is sealed, key its keyed hash. owner and
-- lease_until are the lease of the worker that delivers to it; again: that worker has been asked to look again before
-- it ends the lease. Nothing is sent before next_at. batch: the number of the digest, or the batch of a signed
-- webhook, that is tried again. failures and failing_since count from the last success. failure_notified: that a
-- delivery to it failed for good has been notified since then. Each contact of a signed webhook has a row of its own
-- with a random key. secret signs what is sent there; previous_secret signs too until previous_secret_until. Both are
-- sealed. unused_since: when the clean-up found no contact that names it; null where one does, or came since.
CREATE TABLE targets (
    id                    bigserial PRIMARY KEY,
    channel               text NOT NULL,
    key                   bytea NOT NULL,
    address               bytea NOT NULL,
    owner                 text,
    lease_until           timestamptz,
    next_at               timestamptz NOT NULL DEFAULT 'epoch',
    again                 boolean NOT NULL DEFAULT false,
    batch                 bigint,
    failures              integer NOT NULL DEFAULT 0,
    failing_since         timestamptz,
    failure_notified      boolean NOT NULL DEFAULT false,
    secret                bytea,
    previous_secret       bytea,
    previous_secret_until timestamptz,
    unused_since          timestamptz,
    UNIQUE (channel, key)
);

--bun:split
CREATE INDEX targets_failing ON targets (next_at) WHERE failing_since IS NOT NULL;

--bun:split
CREATE INDEX targets_unused ON targets (id) WHERE unused_since IS NOT NULL;

--bun:split
CREATE TABLE product_groups (
    id                                    bigint PRIMARY KEY,
    name                                  text NOT NULL,
    notification_paused_from              timestamptz,
    notification_paused_until             timestamptz,
    observation_notification_min_severity text NOT NULL DEFAULT '',
    observation_notification_statuses     jsonb NOT NULL DEFAULT '[]',
    observation_notification_min_priority smallint,
    observation_notification_known_exploited boolean NOT NULL DEFAULT false
);

--bun:split
-- generation differs from that of each earlier product with this id of which anything is left, see deletions. The
-- product group may be one that is deleted, until a worker has taken the product out of it. security_gate_reported_at:
-- see observations.
CREATE TABLE products (
    id                                    bigint PRIMARY KEY,
    name                                  text NOT NULL,
    product_group_id                      bigint,
    security_gate_passed                  boolean,
    security_gate_reported_at             timestamptz,
    notification_paused_from              timestamptz,
    notification_paused_until             timestamptz,
    observation_notification_min_severity text NOT NULL DEFAULT '',
    observation_notification_statuses     jsonb NOT NULL DEFAULT '[]',
    observation_notification_min_priority smallint,
    observation_notification_known_exploited boolean NOT NULL DEFAULT false,
    generation                            bigint NOT NULL DEFAULT 0
);

--bun:split
CREATE INDEX products_product_group_id ON products (product_group_id);

--bun:split
-- One row.
CREATE TABLE settings (
    id                                          smallint PRIMARY KEY CHECK (id = 1),
    email_from                                  text NOT NULL DEFAULT '',
    observation_title_notification_min_severity text NOT NULL DEFAULT '',
    observation_title_notification_statuses     jsonb NOT NULL DEFAULT '[]',
    observation_title_notification_min_priority smallint,
    observation_title_notification_parser_type  text NOT NULL DEFAULT '',
    exception_rate_limit                        integer NOT NULL DEFAULT 3600,
    member_notification_types                   jsonb NOT NULL DEFAULT '["security_gate", "task"]',
    delivery_give_up_hours                      integer NOT NULL DEFAULT 24,
    digest_threshold                            integer NOT NULL DEFAULT 10,
    observation_url                             text NOT NULL DEFAULT '',
    product_url                                 text NOT NULL DEFAULT '',
    observation_title_url                       text NOT NULL DEFAULT '',
    notification_retention_days                 integer NOT NULL DEFAULT 90,
    cleanup_cron                                text NOT NULL DEFAULT '0 3 * * *'
);

--bun:split
INSERT INTO settings (id) VALUES (1);

--bun:split
-- People and programs that may see and do something. TOCSIN_ADMIN_TOKEN belongs to automation, the first one. What was
-- created until viewed_until counts as viewed. views_changed counts calls that changed what is viewed. oidc_issuer and
-- oidc_subject name the account at the OpenID Connect provider; both or neither. email_identity is email as it is
-- compared.
CREATE TABLE users (
    id             bigserial PRIMARY KEY,
    username       text NOT NULL UNIQUE,
    full_name      text NOT NULL DEFAULT '',
    email          text NOT NULL DEFAULT '',
    email_identity text NOT NULL DEFAULT '',
    is_admin       boolean NOT NULL DEFAULT false,
    password_hash  text NOT NULL DEFAULT '',
    oidc_issuer    text,
    oidc_subject   text,
    viewed_until   timestamptz NOT NULL DEFAULT 'epoch',
    views_changed  bigint NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (oidc_issuer, oidc_subject)
);

--bun:split
INSERT INTO users (username, full_name, is_admin) VALUES ('automation', 'Automation', true);

--bun:split
CREATE INDEX users_email_identity ON users (email_identity) WHERE email_identity <> '';

--bun:split
CREATE INDEX users_is_admin ON users (id) WHERE is_admin;

--bun:split
-- A subscription adds recipients: those notifications of a product, of a group or of everything that pass its filter
-- go to its contacts, at once or, where schedule is filled, once in a slot. user_id: whose it is; null for one of a
-- team. enabled_at: since when it is enabled. last_slot_at: the newest slot that is done, null before the first.
-- next_slot_at: the next one; null where there is no schedule, or the subscription is disabled. Where that has just
-- happened it is the last slot, until that is done. deleted: it goes after its last slot, and nobody sees it.
-- reported: the number up to which notifications are reported, see notifications. immediate_changed_at: when the
-- choice of what goes at once was last changed, null for never.
CREATE TABLE subscriptions (
    id                     bigserial PRIMARY KEY,
    name                   text NOT NULL,
    user_id                bigint REFERENCES users ON DELETE CASCADE,
    product_id             bigint REFERENCES products ON DELETE CASCADE,
    product_group_id       bigint REFERENCES product_groups ON DELETE CASCADE,
    types                  jsonb NOT NULL DEFAULT '[]',
    events                 jsonb NOT NULL DEFAULT '[]',
    parser_types           jsonb NOT NULL DEFAULT '[]',
    min_severity           text NOT NULL DEFAULT '',
    statuses               jsonb NOT NULL DEFAULT '[]',
    min_priority           smallint,
    known_exploited        boolean NOT NULL DEFAULT false,
    schedule               text NOT NULL DEFAULT '',
    timezone               text NOT NULL DEFAULT 'UTC',
    immediate_min_severity text NOT NULL DEFAULT '',
    enabled                boolean NOT NULL DEFAULT true,
    deleted                boolean NOT NULL DEFAULT false,
    enabled_at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_slot_at           timestamptz,
    next_slot_at           timestamptz,
    reported               bigint NOT NULL DEFAULT 0,
    immediate_changed_at   timestamptz,
    created_at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (product_id IS NULL OR product_group_id IS NULL)
);

--bun:split
CREATE INDEX subscriptions_next_slot_at ON subscriptions (next_slot_at) WHERE next_slot_at IS NOT NULL;

--bun:split
CREATE INDEX subscriptions_user_id ON subscriptions (user_id) WHERE user_id IS NOT NULL;

--bun:split
CREATE INDEX subscriptions_product_id ON subscriptions (product_id) WHERE product_id IS NOT NULL;

--bun:split
CREATE INDEX subscriptions_everything ON subscriptions (id)
    WHERE user_id IS NULL AND product_id IS NULL AND product_group_id IS NULL;

--bun:split
CREATE INDEX subscriptions_product_group_id ON subscriptions (product_group_id) WHERE product_group_id IS NOT NULL;

--bun:split
-- Addresses as they are configured, in the order of position: those of a product, of a group, of a subscription, or of
-- a part of the settings (observation_titles, exceptions). address is as it was written; empty for URLs, which stand
-- sealed in targets alone, and for the email of a personal subscription, which goes to the address of its user:
-- target_id follows that, and is null while the user has none. disabled_at: when the receiver said that it is gone.
CREATE TABLE contacts (
    id               bigserial PRIMARY KEY,
    kind             text NOT NULL,
    product_id       bigint REFERENCES products ON DELETE CASCADE,
    product_group_id bigint REFERENCES product_groups ON DELETE CASCADE,
    subscription_id  bigint REFERENCES subscriptions ON DELETE CASCADE,
    channel          text NOT NULL,
    position         integer NOT NULL,
    target_id        bigint REFERENCES targets,
    address          text NOT NULL DEFAULT '',
    disabled_at      timestamptz,
    CHECK ((kind = 'product') = (product_id IS NOT NULL) AND (kind = 'product_group') = (product_group_id IS NOT NULL)
        AND (kind = 'subscription') = (subscription_id IS NOT NULL) AND (target_id IS NOT NULL OR kind = 'subscription'))
);

--bun:split
CREATE UNIQUE INDEX contacts_product_id ON contacts (product_id, channel, position) WHERE product_id IS NOT NULL;

--bun:split
CREATE UNIQUE INDEX contacts_product_group_id ON contacts (product_group_id, channel, position) WHERE product_group_id IS NOT NULL;

--bun:split
CREATE UNIQUE INDEX contacts_kind ON contacts (kind, channel, position)
    WHERE product_id IS NULL AND product_group_id IS NULL AND subscription_id IS NULL;

--bun:split
CREATE INDEX contacts_subscription_id ON contacts (subscription_id, position) WHERE subscription_id IS NOT NULL;

--bun:split
CREATE INDEX contacts_target_id ON contacts (target_id);

--bun:split
CREATE TABLE product_members (
    product_id bigint NOT NULL REFERENCES products ON DELETE CASCADE,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('reader', 'upload', 'writer', 'maintainer', 'owner')),
    PRIMARY KEY (user_id, product_id)
);

--bun:split
CREATE INDEX product_members_product_id ON product_members (product_id);

--bun:split
CREATE TABLE product_group_members (
    product_group_id bigint NOT NULL REFERENCES product_groups ON DELETE CASCADE,
    user_id          bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    role             text NOT NULL CHECK (role IN ('reader', 'upload', 'writer', 'maintainer', 'owner')),
    PRIMARY KEY (user_id, product_group_id)
);

--bun:split
CREATE INDEX product_group_members_product_group_id ON product_group_members (product_group_id);

--bun:split
-- API tokens, as the SHA-256 of the token.
CREATE TABLE tokens (
    id         bigserial PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    hash       bytea NOT NULL UNIQUE,
    scope      text NOT NULL CHECK (scope IN ('ingest', 'user')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz
);

--bun:split
CREATE INDEX tokens_user_id ON tokens (user_id);

--bun:split
-- Logins with a browser, each as the SHA-256 of what its cookie holds.
CREATE TABLE sessions (
    hash       bytea PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    data       bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

--bun:split
CREATE INDEX sessions_user_id ON sessions (user_id);

--bun:split
CREATE INDEX sessions_expires_at ON sessions (expires_at);

--bun:split
-- product_id has no foreign key: accept locks the products of a chunk itself, once each instead of once a row.
-- notified_* is what is remembered; notified_severity is null where nothing is. reported_at: when the web tier
-- reported what is stored; an older report that comes later, through Redis, is passed over. generation is that of the
-- product. details is empty, or JSON of the optional fields that decide nothing.
CREATE TABLE observations (
    id                bigint PRIMARY KEY,
    product_id        bigint NOT NULL,
    title             text NOT NULL,
    title_hash        bigint NOT NULL,
    severity          text NOT NULL,
    status            text NOT NULL,
    priority          smallint,
    parser_type       text NOT NULL,
    vulnerability_id  text NOT NULL DEFAULT '',
    cvss_score        double precision,
    origin            text NOT NULL DEFAULT '',
    url               text NOT NULL DEFAULT '',
    known_exploited   boolean,
    details           text NOT NULL DEFAULT '',
    notified_severity text,
    notified_status   text,
    notified_priority smallint,
    notified_known_exploited boolean,
    reported_at       timestamptz,
    generation        bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 90);

--bun:split
CREATE INDEX observations_product_id ON observations (product_id, id);

--bun:split
CREATE INDEX observations_title_hash ON observations (title_hash);

--bun:split
-- What is remembered of titles; addressed by the SHA-256 of the title.
CREATE TABLE observation_titles (
    hash              bytea PRIMARY KEY,
    title             text NOT NULL,
    notified_severity text,
    notified_status   text,
    notified_priority smallint,
    notified_known_exploited boolean
);

--bun:split
-- Accepted events that are not evaluated yet. attempts is the token of the newest claim. claim: 0 unclaimed, 1
-- claimed, 2 claimed alone, 3 claimed alone after such a claim ran out; processes_lost counts these. A row with
-- failed_at is set aside. own: Tocsin reports a failure of itself.
CREATE TABLE outbox (
    id             bigserial PRIMARY KEY,
    kind           text NOT NULL,
    bulk           boolean NOT NULL DEFAULT false,
    own            boolean NOT NULL DEFAULT false,
    product_id     bigint,
    payload        jsonb NOT NULL,
    attempts       integer NOT NULL DEFAULT 0,
    failures       integer NOT NULL DEFAULT 0,
    processes_lost integer NOT NULL DEFAULT 0,
    claim          smallint NOT NULL DEFAULT 0,
    run_after      timestamptz NOT NULL DEFAULT clock_timestamp(),
    queued_at      timestamptz,
    failed_at      timestamptz,
    reason         text NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

--bun:split
CREATE INDEX outbox_waiting ON outbox (bulk, id) WHERE failed_at IS NULL;

--bun:split
CREATE INDEX outbox_baseline ON outbox (id) WHERE kind = 'baseline' AND failed_at IS NULL;

--bun:split
CREATE INDEX outbox_failed ON outbox (id) WHERE failed_at IS NOT NULL;

--bun:split
CREATE INDEX outbox_product_id ON outbox (product_id, id) WHERE product_id IS NOT NULL;

--bun:split
-- What happened, as it was then: names, values and facts do not change with what they are about. own: Tocsin reports a
-- failure of itself; a failure to deliver such a notification is not notified. held_back: it waits for the end of a
-- pause. released: the number that it got, from the sequence of ids, when that pause ended: schedules count it as if
-- it had happened then.
CREATE TABLE notifications (
    id              bigserial PRIMARY KEY,
    type            text NOT NULL,
    event           text,
    name            text NOT NULL,
    product_id      bigint,
    observation_id  bigint,
    before_severity text,
    before_status   text,
    before_priority smallint,
    before_known_exploited boolean,
    after_severity  text,
    after_status    text,
    after_priority  smallint,
    after_known_exploited boolean,
    facts           jsonb NOT NULL DEFAULT '{}',
    message         text NOT NULL DEFAULT '',
    function        text NOT NULL DEFAULT '',
    username        text NOT NULL DEFAULT '',
    arguments       jsonb,
    trace           text NOT NULL DEFAULT '',
    suppressed      integer NOT NULL DEFAULT 0,
    own             boolean NOT NULL DEFAULT false,
    held_back       boolean NOT NULL DEFAULT false,
    released        bigint,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

--bun:split
-- The filters of the inbox, each in the order in which it is listed. The index of products has type and event, too, so
-- that what is filtered by them, and counted, is found in it alone. The first index, that of the whole inbox, has
-- product_id, because notifications of deleted products are left out.
CREATE INDEX notifications_created_at ON notifications (created_at, id, product_id);

--bun:split
CREATE INDEX notifications_product_id ON notifications (product_id, created_at, id, type, event);

--bun:split
CREATE INDEX notifications_held_back ON notifications (product_id, id) WHERE held_back;

--bun:split
CREATE INDEX notifications_released ON notifications (released, id) WHERE released IS NOT NULL;

--bun:split
CREATE INDEX notifications_type ON notifications (type, created_at, id);

--bun:split
CREATE INDEX notifications_event ON notifications (event, created_at, id);

--bun:split
CREATE INDEX notifications_severity ON notifications (after_severity, created_at, id) WHERE after_severity IS NOT NULL;

--bun:split
CREATE INDEX notifications_username ON notifications (username, created_at, id) WHERE username <> '';

--bun:split
-- What a user has viewed after viewed_until. The rows of a user that is deleted are removed in parts, see deletions.
CREATE TABLE notification_views (
    user_id         bigint NOT NULL,
    notification_id bigint NOT NULL REFERENCES notifications ON DELETE CASCADE,
    PRIMARY KEY (user_id, notification_id)
);

--bun:split
CREATE INDEX notification_views_notification_id ON notification_views (notification_id);

--bun:split
-- One notification for one target. notification_id has no foreign key, which would cost a statement for each row: a
-- transaction that adds deliveries keeps their notifications, and one that deletes notifications deletes their
-- deliveries. product_id and type are those of the notification, so that a user who sees it sees this. source_kind and
-- source_id: the holder of the contact that it comes from. user_id: the user whose subscription alone it comes from, 0
-- for that of a team to everything, which administrators see; it has no foreign key, so that the id stays where the
-- user is deleted, and what waits does not go to a user who is gone. masked: it says what members may read. batch: the
-- number of the digest, or the batch of a signed webhook, in which it was tried. accepted_at: when the event that it
-- comes from was accepted; null where it waits for another reason, such as a resend. digest_id: the row in digests
-- whose message it is a part of.
CREATE TABLE deliveries (
    id              bigserial PRIMARY KEY,
    notification_id bigint NOT NULL,
    target_id       bigint NOT NULL,
    source_kind     text NOT NULL DEFAULT '',
    source_id       bigint NOT NULL DEFAULT 0,
    user_id         bigint,
    masked          boolean NOT NULL DEFAULT false,
    product_id      bigint,
    type            text NOT NULL,
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    attempts        integer NOT NULL DEFAULT 0,
    last_error      text NOT NULL DEFAULT '',
    batch           bigint,
    accepted_at     timestamptz,
    digest_id       bigint,
    sent_at         timestamptz
);

--bun:split
CREATE INDEX deliveries_digest_id ON deliveries (digest_id, target_id) WHERE digest_id IS NOT NULL;

--bun:split
CREATE INDEX deliveries_notification_id ON deliveries (notification_id);

--bun:split
CREATE INDEX deliveries_product_id ON deliveries (product_id, id, type, user_id);

--bun:split
CREATE INDEX deliveries_pending ON deliveries (target_id, id, product_id, type, user_id, notification_id) WHERE state = 'pending';

--bun:split
CREATE INDEX deliveries_failed ON deliveries (target_id, id, product_id, type, user_id, notification_id) WHERE state = 'failed';

--bun:split
-- What subscriptions with a schedule, and contacts whose pause is over, receive in one message: the net changes of
-- many notifications. notifications are the ids of the last ones of these, a list.
CREATE TABLE digests (
    id            bigserial PRIMARY KEY,
    content       jsonb NOT NULL,
    notifications jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

--bun:split
-- Pauses that end: what they held back goes to those who would have received it. products: a list of ids. through: the
-- number of the last notification that goes. There is one row at a time.
CREATE TABLE ended_pauses (
    id       bigserial PRIMARY KEY,
    products jsonb NOT NULL,
    through  bigint NOT NULL,
    one      boolean NOT NULL DEFAULT true UNIQUE
);

--bun:split
-- The targets that have what they would have received.
CREATE TABLE ended_pause_targets (
    ended_pause_id bigint NOT NULL REFERENCES ended_pauses ON DELETE CASCADE,
    target_id      bigint NOT NULL,
    PRIMARY KEY (ended_pause_id, target_id)
);

--bun:split
-- What is deleted, and hidden from then on, while a worker removes it in parts: of a product its observations of a
-- generation, its notifications up to until_notification and its events up to until_event; of a user its rows in
-- notification_views; of a product group the products that still name it.
CREATE TABLE deletions (
    id                 bigserial PRIMARY KEY,
    product_id         bigint,
    generation         bigint,
    until_notification bigint,
    until_event        bigint,
    user_id            bigint,
    product_group_id   bigint,
    CHECK (CASE WHEN product_id IS NULL THEN (user_id IS NULL) <> (product_group_id IS NULL)
        ELSE user_id IS NULL AND product_group_id IS NULL END)
);

--bun:split
CREATE INDEX deletions_product_id ON deletions (product_id);

--bun:split
-- The ids of notifications that were deleted by a filter, and are hidden while a worker removes them in parts.
CREATE TABLE deleted_notifications (
    id bigint PRIMARY KEY
);

--bun:split
-- Occurrences of an exception that were suppressed since it was last notified; key is that of its claim in Redis.
CREATE TABLE suppressions (
    key   text PRIMARY KEY,
    count integer NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);

--bun:split
-- Runs of periodic tasks. A slot is inserted once over all schedulers. attempts is the token of the newest claim; no
-- process claims a run before run_after. queued_at: when a task for it was last enqueued; a claim empties it.
CREATE TABLE periodic_tasks (
    id          bigserial PRIMARY KEY,
    task        text NOT NULL,
    slot        timestamptz NOT NULL,
    started_at  timestamptz,
    duration_ms bigint,
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'succeeded', 'failed')),
    message     text NOT NULL DEFAULT '',
    attempts    integer NOT NULL DEFAULT 0,
    handed_over integer NOT NULL DEFAULT 0, -- of the attempts
    run_after   timestamptz NOT NULL DEFAULT 'epoch',
    queued_at   timestamptz,
    UNIQUE (task, slot)
);

--bun:split
-- Of one task one run at a time.
CREATE UNIQUE INDEX periodic_tasks_running ON periodic_tasks (task) WHERE status = 'running';

--bun:split
CREATE INDEX periodic_tasks_waiting ON periodic_tasks (id) WHERE status IN ('pending', 'running');

--bun:split
-- What only one process does at a time, and when next. cleanup: slots before this do not count as missed. deletion:
-- when notifications were last deleted. removal: when a task that removes what is deleted may be enqueued.
CREATE TABLE ticks (
    name    text PRIMARY KEY,
    next_at timestamptz NOT NULL DEFAULT 'epoch'
);

--bun:split
INSERT INTO ticks (name) VALUES ('sweep'), ('removal'), ('digests');

--bun:split
INSERT INTO ticks (name, next_at) VALUES ('cleanup', clock_timestamp()), ('deletion', clock_timestamp());

--bun:split
-- Processes that run web, worker, scheduler or all of them (serve). seen_at is renewed as long as the process lives.
CREATE TABLE processes (
    id         text PRIMARY KEY,
    role       text NOT NULL,
    host       text NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);

--bun:split
-- Where the connector to SecObserve stands: one row. loaded: the first load is over. read_to: the last id that a
-- reading of all observations has stored; null where none is under way. read_began and today_read: when all
-- observations, or those that changed today, were last read. approvals: the time of the newest approval that was read.
-- gates: the newest change of a security gate that was read; gates_read: when all gates were last read. gap: by how
-- many SecObserve had more observations than the tables when they were last compared. frontend: where the links of the
-- settings lead. sender: the email_from that was taken. settings: a hash of the settings that were stored. problems:
-- the classes of those that were reported and are not over. failures: passes in a row that failed.
CREATE TABLE secobserve (
    id         smallint PRIMARY KEY CHECK (id = 1),
    loaded     boolean NOT NULL DEFAULT false,
    read_to    bigint,
    read_began timestamptz,
    today_read timestamptz,
    approvals  timestamptz,
    gates      timestamptz,
    gates_read timestamptz,
    gap        bigint NOT NULL DEFAULT 0,
    frontend   text NOT NULL DEFAULT '',
    sender     text NOT NULL DEFAULT '',
    settings   text NOT NULL DEFAULT '',
    problems   text NOT NULL DEFAULT '',
    failures   integer NOT NULL DEFAULT 0
);

--bun:split
INSERT INTO secobserve (id) VALUES (1);

--bun:split
INSERT INTO ticks (name) VALUES ('secobserve:sync');

--bun:split
-- The products, product groups and users that come from SecObserve. settings is a keyed hash of what was stored of
-- them. last_change: up to which last_observation_change the observations of a product are stored; null: not yet.
-- newest: the newest time of a change that was read of them. gate_change: the id of the last change of the gate there
-- that was reported.
CREATE TABLE secobserve_products (
    product_id  bigint PRIMARY KEY REFERENCES products ON DELETE CASCADE,
    settings    text NOT NULL,
    last_change timestamptz,
    newest      timestamptz,
    gate_change bigint NOT NULL DEFAULT 0
);

--bun:split
CREATE TABLE secobserve_product_groups (
    product_group_id bigint PRIMARY KEY REFERENCES product_groups ON DELETE CASCADE,
    settings         text NOT NULL
);

--bun:split
-- id is the user's there. local_admin: whether the user was an administrator here before; null: there was no such
-- user.
CREATE TABLE secobserve_users (
    user_id     bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    id          bigint NOT NULL UNIQUE,
    active      boolean NOT NULL,
    local_admin boolean
);

--bun:split
-- What SecObserve has and Tocsin refuses, with the reason.
CREATE TABLE secobserve_refusals (
    kind   text NOT NULL,
    id     bigint NOT NULL,
    name   text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (kind, id)
);
