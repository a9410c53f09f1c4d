-- People and programs that may see and do something. automation, the first one, is who TOCSIN_ADMIN_TOKEN belongs to. What
-- was created until viewed_until counts as viewed. views_changed counts calls that changed what is viewed.
CREATE TABLE users (
    id            bigserial PRIMARY KEY,
    username      text NOT NULL UNIQUE,
    full_name     text NOT NULL DEFAULT '',
    email         text NOT NULL DEFAULT '',
    is_admin      boolean NOT NULL DEFAULT false,
    password_hash text NOT NULL DEFAULT '',
    viewed_until  timestamptz NOT NULL DEFAULT 'epoch',
    views_changed bigint NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

--bun:split
INSERT INTO users (username, full_name, is_admin) VALUES ('automation', 'Automation', true);

--bun:split
CREATE INDEX users_email ON users (lower(email));

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
-- What a user has viewed after viewed_until.
CREATE TABLE notification_views (
    user_id         bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    notification_id bigint NOT NULL REFERENCES notifications ON DELETE CASCADE,
    PRIMARY KEY (user_id, notification_id)
);

--bun:split
CREATE INDEX notification_views_notification_id ON notification_views (notification_id);
