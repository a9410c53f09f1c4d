DROP TABLE ticks, deliveries, notifications, outbox, observation_titles, observations, settings, products, product_groups, targets, secrets;
