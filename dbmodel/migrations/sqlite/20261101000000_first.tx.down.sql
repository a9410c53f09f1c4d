DROP TABLE ticks;
--bun:split
DROP TABLE deliveries;
--bun:split
DROP TABLE notifications;
--bun:split
DROP TABLE outbox;
--bun:split
DROP TABLE observation_titles;
--bun:split
DROP TABLE observations;
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
