DROP TABLE secobserve_refusals;
--bun:split
DROP TABLE secobserve_users;
--bun:split
DROP TABLE secobserve_product_groups;
--bun:split
DROP TABLE secobserve_products;
--bun:split
DROP TABLE secobserve;
--bun:split
DROP TABLE processes;
--bun:split
DROP TABLE ticks;
--bun:split
DROP TABLE periodic_tasks;
--bun:split
DROP TABLE suppressions;
--bun:split
DROP TABLE deleted_notifications;
--bun:split
DROP TABLE deletions;
--bun:split
DROP TABLE ended_pause_targets;
--bun:split
DROP TABLE ended_pauses;
--bun:split
DROP TABLE digests;

--bun:split
DROP TABLE deliveries;
--bun:split
DROP TABLE notification_views;
--bun:split
DROP TABLE notifications;
--bun:split
DROP TABLE outbox;
--bun:split
DROP TABLE observation_titles;
--bun:split
DROP TABLE observations;
--bun:split
DROP TABLE sessions;
--bun:split
DROP TABLE tokens;
--bun:split
DROP TABLE product_group_members;
--bun:split
DROP TABLE product_members;
--bun:split
DROP TABLE contacts;
--bun:split
DROP TABLE subscriptions;
--bun:split
DROP TABLE users;
--bun:split
DROP TABLE settings;
--bun:split
DROP TABLE products;
--bun:split
DROP TABLE product_groups;
--bun:split
DROP TABLE targets;
--bun:split
DROP TABLE secrets;
