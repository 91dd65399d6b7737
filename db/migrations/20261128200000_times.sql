-- migrate:up
SET LOCAL lock_timeout = '3s';

-- When the wallet's last operation was accepted, by its created_at. The api advances it with last_seq
-- and gives no operation an earlier time, so that times follow the sequence: the defaults of created_at
-- and applied_at are the begin of a transaction, and of two transactions that wait for one wallet the
-- second to begin may be the first to have it. The defaults stay, for the programs of the last release,
-- which give no times and leave last_at as it is: while they run beside new ones, and in what they have
-- written, an operation's time may be before its predecessor's. null: no program that knows the column
-- has accepted anything.
ALTER TABLE wallet_sequences ADD COLUMN last_at timestamptz;

GRANT UPDATE (last_at) ON wallet_sequences TO wallet_api;
GRANT INSERT (created_at) ON operations TO wallet_api;
GRANT INSERT (applied_at) ON outcomes TO wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

REVOKE INSERT (applied_at) ON outcomes FROM wallet_worker;
REVOKE INSERT (created_at) ON operations FROM wallet_api;
ALTER TABLE wallet_sequences DROP COLUMN last_at;
