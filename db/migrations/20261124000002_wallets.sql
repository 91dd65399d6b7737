-- migrate:up
SET LOCAL lock_timeout = '3s';

CREATE TYPE operation_type AS ENUM ('DEPOSIT', 'WITHDRAW');
CREATE TYPE outcome_status AS ENUM ('PROCESSED', 'FAILED');

-- A wallet and what has been applied to it. The limit of the balance, 2^53 - 1, is the largest
-- integer that every JSON parser holds. Half of each page is left free, so that updates of the two
-- counters stay on their page and touch no index (HOT).
CREATE TABLE wallets (
  id          uuid PRIMARY KEY,
  currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  reference   text CHECK (char_length(reference) BETWEEN 1 AND 128),
  balance     bigint NOT NULL DEFAULT 0 CHECK (balance BETWEEN 0 AND 9007199254740991),
  applied_seq bigint NOT NULL DEFAULT 0 CHECK (applied_seq >= 0),
  created_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE INDEX wallets_reference ON wallets (reference, id) WHERE reference IS NOT NULL;

-- The last sequence given in each wallet. It is apart from wallets, so that accepting an operation
-- never waits for the worker that applies others.
CREATE TABLE wallet_sequences (
  wallet_id uuid PRIMARY KEY,
  last_seq  bigint NOT NULL DEFAULT 0 CHECK (last_seq >= 0)
) WITH (fillfactor = 50);

-- What clients asked for, in the order of acceptance. Rows are never changed. There is no foreign
-- key to wallets: the locked row of wallet_sequences proves that the wallet exists.
CREATE TABLE operations (
  wallet_id  uuid NOT NULL,
  seq        bigint NOT NULL CHECK (seq > 0),
  id         uuid NOT NULL,
  type       operation_type NOT NULL,
  amount     bigint NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
  reference  text CHECK (char_length(reference) BETWEEN 1 AND 128),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (wallet_id, seq),
  CONSTRAINT operations_id UNIQUE (id)
);

-- What became of them. Rows are never changed; the primary key is what makes applying an operation
-- twice impossible. No row: the operation is pending.
CREATE TABLE outcomes (
  wallet_id      uuid NOT NULL,
  seq            bigint NOT NULL,
  status         outcome_status NOT NULL,
  failure_reason text,
  balance_after  bigint NOT NULL CHECK (balance_after BETWEEN 0 AND 9007199254740991),
  applied_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (wallet_id, seq),
  CHECK ((status = 'FAILED') = (failure_reason IS NOT NULL))
);

-- Each operation with its outcome: what people and audits read.
CREATE VIEW operation_states WITH (security_invoker = true) AS
SELECT o.wallet_id, o.seq, o.id, o.type, o.amount, o.reference, o.created_at,
       coalesce(c.status::text, 'PENDING')::text AS status, c.failure_reason, c.balance_after, c.applied_at
FROM operations o
LEFT JOIN outcomes c USING (wallet_id, seq);

-- The api opens wallets and accepts operations; it cannot touch a balance.
GRANT SELECT, INSERT (id, currency, reference) ON wallets TO wallet_api;
GRANT SELECT, INSERT (wallet_id), UPDATE (last_seq) ON wallet_sequences TO wallet_api;
GRANT SELECT, INSERT (wallet_id, seq, id, type, amount, reference) ON operations TO wallet_api;
GRANT SELECT ON outcomes, operation_states TO wallet_api;

-- The worker applies operations; it cannot accept one, nor change one.
GRANT SELECT, UPDATE (balance, applied_seq) ON wallets TO wallet_worker;
GRANT SELECT ON wallet_sequences, operations, operation_states TO wallet_worker;
GRANT SELECT, INSERT (wallet_id, seq, status, failure_reason, balance_after) ON outcomes TO wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

DROP VIEW operation_states;
DROP TABLE outcomes, operations, wallet_sequences, wallets;
DROP TYPE outcome_status, operation_type;
