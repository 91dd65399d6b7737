-- migrate:up
SET LOCAL lock_timeout = '3s';

-- The worker tells of outcomes only on a topic that is registered: the relay stops at any other.
GRANT SELECT ON outbox_topics TO wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

REVOKE SELECT ON outbox_topics FROM wallet_worker;
