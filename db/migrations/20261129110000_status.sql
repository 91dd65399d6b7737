-- migrate:up
SET LOCAL lock_timeout = '3s';

-- The api shows how far relays are, and whether an operation is published: it sees which rows there are, not what they say.
GRANT SELECT ON relay_positions, relay_controls, parked_rows TO wallet_api;
GRANT SELECT (id, xid, topic, key, created_at) ON outbox TO wallet_api;

-- migrate:down
SET LOCAL lock_timeout = '3s';

REVOKE SELECT (id, xid, topic, key, created_at) ON outbox FROM wallet_api;
REVOKE SELECT ON relay_positions, relay_controls, parked_rows FROM wallet_api;
