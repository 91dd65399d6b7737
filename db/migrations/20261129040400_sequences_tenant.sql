-- migrate:up
SET LOCAL lock_timeout = '3s';

-- The tenant of the wallet, so that the lock of an acceptance sees it. The worker counts what it accepts.
ALTER TABLE wallet_sequences ADD COLUMN tenant text NOT NULL DEFAULT 'default';

GRANT INSERT (tenant) ON wallet_sequences TO wallet_api;
GRANT UPDATE (last_seq, last_at) ON wallet_sequences TO wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

REVOKE UPDATE (last_seq, last_at) ON wallet_sequences FROM wallet_worker;
ALTER TABLE wallet_sequences DROP COLUMN tenant;
