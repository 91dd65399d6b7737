-- migrate:up
SET LOCAL lock_timeout = '3s';

-- held is the part of the balance that open holds keep. rules_seq is the sequence up to which a worker has applied
-- that knows held and state. The worker of the last release advances applied_seq alone: it stops at a wallet that
-- has either, instead of paying out what is held. A column added with a constant rewrites no row.
ALTER TABLE wallets
  ADD COLUMN held bigint NOT NULL DEFAULT 0,
  ADD COLUMN state wallet_state NOT NULL DEFAULT 'ACTIVE',
  ADD COLUMN tenant text NOT NULL DEFAULT 'default',
  ADD COLUMN rules_seq bigint NOT NULL DEFAULT 0,
  DROP CONSTRAINT wallets_balance_check,
  ADD CONSTRAINT wallets_balance CHECK (balance BETWEEN 0 AND 4611686018427387904) NOT VALID,
  ADD CONSTRAINT wallets_held CHECK (held BETWEEN 0 AND balance) NOT VALID,
  ADD CONSTRAINT wallets_rules CHECK ((held = 0 AND state = 'ACTIVE') OR rules_seq = applied_seq) NOT VALID;

-- What a client said about a wallet when it opened it. In wallets it would be written anew with every balance.
CREATE TABLE wallet_metadata (
  wallet_id uuid PRIMARY KEY,
  metadata  jsonb NOT NULL
);

-- A row for every open hold, written in the transaction that opens or closes it.
CREATE TABLE open_holds (
  wallet_id  uuid NOT NULL,
  seq        bigint NOT NULL,
  hold_id    uuid NOT NULL,
  expires_at timestamptz,
  PRIMARY KEY (wallet_id, seq)
);

CREATE INDEX open_holds_expiry ON open_holds (expires_at, wallet_id, seq) WHERE expires_at IS NOT NULL;

GRANT INSERT (tenant) ON wallets TO wallet_api;
GRANT SELECT, INSERT ON wallet_metadata TO wallet_api;
GRANT SELECT ON open_holds TO wallet_api;
GRANT UPDATE (held, state, rules_seq) ON wallets TO wallet_worker;
GRANT SELECT, INSERT, DELETE ON open_holds TO wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

DROP TABLE open_holds, wallet_metadata;
ALTER TABLE wallets
  DROP CONSTRAINT wallets_rules, DROP CONSTRAINT wallets_held, DROP CONSTRAINT wallets_balance,
  DROP COLUMN rules_seq, DROP COLUMN tenant, DROP COLUMN state, DROP COLUMN held,
  ADD CONSTRAINT wallets_balance_check CHECK (balance BETWEEN 0 AND 9007199254740991);
