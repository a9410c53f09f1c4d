DROP TABLE notification_views;

--bun:split
DROP TABLE tokens;

--bun:split
DROP TABLE product_group_members;

--bun:split
DROP TABLE product_members;

--bun:split
DROP TABLE users;
