-- migrate:up
SET LOCAL lock_timeout = '3s';

-- The role of the service hooks: see 20261124000001_roles.sql.
DO $$
BEGIN
  CREATE ROLE wallet_hooks NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;
GRANT USAGE ON SCHEMA public TO wallet_hooks;
GRANT SELECT ON schema_migrations, tenants, outbox_topics TO wallet_hooks;

-- Where clients want to hear of outcomes. The api writes it, hooks reads it. wallets and types are filters: NULL
-- takes all. Secrets are encrypted (db/hook). The previous one signs too until previous_until.
CREATE TABLE hook_endpoints (
  id              uuid PRIMARY KEY,
  tenant          text NOT NULL REFERENCES tenants,
  client          text NOT NULL,
  url             text NOT NULL CHECK (length(url) <= 2048),
  description     text CHECK (length(description) <= 200),
  wallets         uuid[] CHECK (cardinality(wallets) BETWEEN 1 AND 100),
  types           text[] CHECK (cardinality(types) BETWEEN 1 AND 100),
  secret          text NOT NULL,
  previous_secret text,
  previous_until  timestamptz,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT hook_endpoints_previous CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
CREATE INDEX hook_endpoints_tenant ON hook_endpoints (tenant, id);

-- What hooks is to do once, in the order of ids: the api and ctl write it, hooks carries it out.
CREATE TABLE hook_requests (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  endpoint_id uuid NOT NULL REFERENCES hook_endpoints ON DELETE CASCADE,
  kind        text NOT NULL CHECK (kind IN ('TEST', 'REPLAY', 'SKIP', 'ENABLE', 'DISABLE')),
  since       timestamptz,
  run         text, -- of a SKIP: the ce_id of the run that stalls
  actor       text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT hook_requests_since CHECK ((kind = 'REPLAY') = (since IS NOT NULL)),
  CONSTRAINT hook_requests_run CHECK ((kind = 'SKIP') = (run IS NOT NULL))
);
CREATE INDEX hook_requests_endpoint ON hook_requests (endpoint_id, id);

-- How an endpoint fares: hooks writes it, the api shows it. Every write names the term, which is raised when a process
-- takes the endpoint and by each replay, so that a process that was stopped can undo nothing.
CREATE TABLE hook_states (
  endpoint_id   uuid PRIMARY KEY REFERENCES hook_endpoints ON DELETE CASCADE,
  term          bigint NOT NULL,
  last_request  bigint NOT NULL DEFAULT 0,
  disabled_at   timestamptz,
  reason        text,
  since         timestamptz NOT NULL DEFAULT now(), -- what was finished before it is not sent: its creation, or a replay's time
  failures      integer NOT NULL DEFAULT 0, -- in a row, of the endpoint as a whole
  failing_since timestamptz,
  next_attempt  timestamptz,
  last_error    text,
  lag_messages  bigint NOT NULL DEFAULT 0,
  lag_seconds   double precision NOT NULL DEFAULT 0,
  attempts      jsonb NOT NULL DEFAULT '[]', -- the last 100
  stalled       jsonb NOT NULL DEFAULT '[]', -- the runs that hold partitions up
  skipped       jsonb NOT NULL DEFAULT '[]', -- the last 100 runs that the client told to skip
  missed        jsonb NOT NULL DEFAULT '[]', -- ranges that were not in the log any more: the last 100
  log_begins    timestamptz, -- the time of the oldest message that is still in the log: a replay reaches no further back
  updated_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- How far an endpoint is in a partition: everything before next_offset is finished, and of the 1,024 messages from it
-- on those whose bit is set.
CREATE TABLE hook_cursors (
  endpoint_id uuid NOT NULL REFERENCES hook_endpoints ON DELETE CASCADE,
  partition   integer NOT NULL,
  term        bigint NOT NULL,
  next_offset bigint NOT NULL,
  finished    bytea NOT NULL DEFAULT '' CHECK (octet_length(finished) <= 128),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (endpoint_id, partition)
) WITH (fillfactor = 50);

-- What clients and operators may see of an endpoint: no secrets. enabled is what was asked for last, or what hooks
-- has made of it.
CREATE VIEW webhooks AS
SELECT e.id, e.tenant, e.client, e.url, e.description, e.wallets, e.types, e.previous_until, e.created_at, e.updated_at,
  coalesce((SELECT r.kind = 'ENABLE' FROM hook_requests r
    WHERE r.endpoint_id = e.id AND r.kind IN ('ENABLE', 'DISABLE') AND r.id > coalesce(s.last_request, 0)
    ORDER BY r.id DESC LIMIT 1), s.disabled_at IS NULL)::boolean AS enabled,
  s.last_request, s.disabled_at, s.reason, s.failing_since, s.next_attempt, s.last_error, s.lag_messages, s.lag_seconds,
  coalesce(s.stalled, '[]') AS stalled, coalesce(s.skipped, '[]') AS skipped, coalesce(s.missed, '[]') AS missed, s.log_begins
FROM hook_endpoints e LEFT JOIN hook_states s ON s.endpoint_id = e.id;

GRANT SELECT ON webhooks TO wallet_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON hook_endpoints TO wallet_api;
GRANT SELECT, INSERT ON hook_requests TO wallet_api;
GRANT SELECT ON hook_states TO wallet_api;

GRANT SELECT ON hook_endpoints, hook_requests TO wallet_hooks;
GRANT SELECT, INSERT, UPDATE ON hook_states, hook_cursors TO wallet_hooks;

-- migrate:down
SET LOCAL lock_timeout = '3s';

DROP VIEW webhooks;
DROP TABLE hook_cursors, hook_states, hook_requests, hook_endpoints;
REVOKE SELECT ON schema_migrations, tenants, outbox_topics FROM wallet_hooks;
REVOKE USAGE ON SCHEMA public FROM wallet_hooks;
