-- migrate:up
SET LOCAL lock_timeout = '3s';

-- Messages on their way to Kafka, written in the transaction of the fact they tell of. Any producer
-- may use it, for any registered topic. id gives the order; xid tells the relay which transactions
-- it has not seen yet. No producer may set either, or the relay could miss a row.
CREATE TABLE outbox (
  id         bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
  xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
  topic      text NOT NULL,
  key        text NOT NULL,
  payload    bytea NOT NULL,
  headers    text NOT NULL DEFAULT '{}' CHECK (headers IS JSON OBJECT),
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT outbox_size CHECK (octet_length(key) + octet_length(payload) + octet_length(headers) <= 16384)
) WITH (
  -- Rows live a day and are deleted in order, so the table is mostly dead space to reuse.
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
  autovacuum_analyze_scale_factor = 0.05
);

CREATE INDEX outbox_xid ON outbox (xid, id);

-- The topics a row may name and their partition counts. A count never changes: a key's partition
-- follows from it, and with that a wallet's order. There is no foreign key from outbox: it would
-- lock this one row for every insert.
CREATE TABLE outbox_topics (
  topic      text PRIMARY KEY,
  partitions integer NOT NULL CHECK (partitions > 0)
);

-- How far each relay has published. Everything visible in prev is acknowledged; of the window
-- between prev and cur, everything up to after_id is. cur is null between windows.
CREATE TABLE relay_positions (
  relay             text PRIMARY KEY,
  prev              pg_snapshot NOT NULL,
  cur               pg_snapshot,
  after_id          bigint NOT NULL DEFAULT 0,
  last_id           bigint NOT NULL DEFAULT 0,
  system_identifier bigint NOT NULL,
  database_oid      bigint NOT NULL,
  updated_at        timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- What operators told a relay.
CREATE TABLE relay_controls (
  relay     text PRIMARY KEY,
  paused_at timestamptz,
  reason    text
);

-- Outbox rows that an operator told the relay to pass over.
CREATE TABLE parked_rows (
  outbox_id bigint PRIMARY KEY,
  actor     text NOT NULL,
  reason    text NOT NULL,
  parked_at timestamptz NOT NULL DEFAULT now()
);

GRANT INSERT (topic, key, payload, headers) ON outbox TO wallet_api;
GRANT SELECT ON outbox_topics TO wallet_api;

GRANT SELECT, DELETE ON outbox TO wallet_relay;
GRANT SELECT ON outbox_topics, relay_controls, parked_rows TO wallet_relay;
GRANT SELECT, INSERT, UPDATE ON relay_positions TO wallet_relay;

GRANT SELECT ON outbox TO wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

DROP TABLE parked_rows, relay_controls, relay_positions, outbox_topics, outbox;
