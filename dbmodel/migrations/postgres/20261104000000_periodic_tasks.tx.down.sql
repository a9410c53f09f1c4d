DELETE FROM ticks WHERE name IN ('cleanup', 'deletion');

--bun:split
DROP TABLE periodic_tasks;
