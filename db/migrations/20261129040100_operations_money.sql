-- migrate:up
SET LOCAL lock_timeout = '3s';

-- Each table is altered by a migration of its own: one that locks two of them can meet a service that has locked
-- them in the other order. Their new CHECKs are validated at the end, under a lock that lets everybody go on.

-- What an operation refers to. subject_id is the hold (CAPTURE, RELEASE, EXPIRE), the original (REVERSE), the debit
-- leg (RECEIVE) or the RECEIVE (RETURN). counterpart_id is the other wallet: of both legs of a transfer, of a CAPTURE
-- that goes to another wallet, and of a RETURN. expires_at is a HOLD's, final a CAPTURE's. An amount of 0 is open
-- (all that is left at its turn), or none. All of them are null in a plain deposit or withdrawal.
ALTER TABLE operations
  ADD COLUMN subject_id uuid,
  ADD COLUMN counterpart_id uuid,
  ADD COLUMN expires_at timestamptz,
  ADD COLUMN final boolean,
  ADD COLUMN metadata jsonb,
  DROP CONSTRAINT operations_amount_check,
  ADD CONSTRAINT operations_amount CHECK (amount BETWEEN 0 AND 9007199254740991
    AND (amount > 0 OR type IN ('CAPTURE', 'RELEASE', 'EXPIRE', 'REVERSE', 'FREEZE', 'ACTIVATE', 'CLOSE'))) NOT VALID,
  ADD CONSTRAINT operations_subject CHECK ((subject_id IS NOT NULL)
    = (type IN ('CAPTURE', 'RELEASE', 'EXPIRE', 'REVERSE', 'RECEIVE', 'RETURN'))) NOT VALID,
  ADD CONSTRAINT operations_counterpart CHECK (CASE WHEN type IN ('TRANSFER', 'RECEIVE', 'RETURN') THEN counterpart_id IS NOT NULL
    ELSE counterpart_id IS NULL OR type = 'CAPTURE' END) NOT VALID,
  ADD CONSTRAINT operations_times CHECK (isfinite(created_at)
    AND (expires_at IS NULL OR isfinite(expires_at) AND type = 'HOLD')) NOT VALID; -- no program can read the others

GRANT INSERT (subject_id, counterpart_id, expires_at, final, metadata) ON operations TO wallet_api;

-- The worker accepts what follows from operations that it applies: policies say which.
GRANT INSERT (wallet_id, seq, id, type, amount, reference, created_at, subject_id, counterpart_id) ON operations TO wallet_worker;
GRANT INSERT (topic, key, payload, headers) ON outbox TO wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

-- It fails once an operation of a new type has been accepted.
ALTER TABLE operations
  DROP CONSTRAINT operations_amount,
  DROP CONSTRAINT operations_subject,
  DROP CONSTRAINT operations_counterpart,
  DROP CONSTRAINT operations_times,
  ADD CONSTRAINT operations_amount_check CHECK (amount BETWEEN 1 AND 9007199254740991 AND type IN ('DEPOSIT', 'WITHDRAW')),
  DROP COLUMN metadata, DROP COLUMN final, DROP COLUMN expires_at, DROP COLUMN counterpart_id, DROP COLUMN subject_id;
REVOKE INSERT (topic, key, payload, headers) ON outbox FROM wallet_worker;
REVOKE INSERT (wallet_id, seq, id, type, amount, reference, created_at) ON operations FROM wallet_worker;
