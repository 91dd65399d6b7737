-- migrate:up
SET LOCAL lock_timeout = '3s';

CREATE TYPE wallet_state AS ENUM ('ACTIVE', 'FROZEN', 'CLOSED');

-- What else an operation came to. null: nothing held, ACTIVE, the amount as asked, no subject. subject_left is what
-- remains of a hold, or can still be reversed of an original, after this operation, a failed one too: so the state
-- of a subject is that of the last applied operation that names it. A balance may pass 2^53 - 1: a RETURN never fails.
ALTER TABLE outcomes
  ADD COLUMN held_after bigint,
  ADD COLUMN state_after wallet_state,
  ADD COLUMN applied_amount bigint,
  ADD COLUMN subject_left bigint,
  DROP CONSTRAINT outcomes_balance_after_check,
  ADD CONSTRAINT outcomes_balance_after CHECK (balance_after BETWEEN 0 AND 4611686018427387904) NOT VALID,
  ADD CONSTRAINT outcomes_held_after CHECK (held_after BETWEEN 0 AND balance_after) NOT VALID,
  ADD CONSTRAINT outcomes_subject_left CHECK (subject_left >= 0) NOT VALID;

GRANT INSERT (held_after, state_after, applied_amount, subject_left) ON outcomes TO wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

ALTER TABLE outcomes
  DROP COLUMN subject_left, DROP COLUMN applied_amount, DROP COLUMN state_after, DROP COLUMN held_after,
  DROP CONSTRAINT outcomes_balance_after,
  ADD CONSTRAINT outcomes_balance_after_check CHECK (balance_after BETWEEN 0 AND 9007199254740991);
DROP TYPE wallet_state;
