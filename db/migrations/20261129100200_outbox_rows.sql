-- migrate:up
SET LOCAL lock_timeout = '3s';

-- A row may fill a page before Postgres compresses it and moves it out of line, which begins at 2 kB otherwise. Events
-- have up to 7.5 KiB: compressing them takes a third of the room, and twice the time of writing and reading them.
ALTER TABLE outbox SET (toast_tuple_target = 8160);

-- migrate:down
SET LOCAL lock_timeout = '3s';

ALTER TABLE outbox RESET (toast_tuple_target);
