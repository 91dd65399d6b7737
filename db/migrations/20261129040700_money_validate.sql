-- migrate:up
SET LOCAL lock_timeout = '3s';

-- It reads all rows, which takes as long as that takes, under a lock that stops no service.
ALTER TABLE wallets VALIDATE CONSTRAINT wallets_balance, VALIDATE CONSTRAINT wallets_held, VALIDATE CONSTRAINT wallets_rules;
ALTER TABLE outcomes VALIDATE CONSTRAINT outcomes_balance_after, VALIDATE CONSTRAINT outcomes_held_after, VALIDATE CONSTRAINT outcomes_subject_left;
ALTER TABLE operations VALIDATE CONSTRAINT operations_amount, VALIDATE CONSTRAINT operations_subject, VALIDATE CONSTRAINT operations_counterpart, VALIDATE CONSTRAINT operations_times;

-- migrate:down
SET LOCAL lock_timeout = '3s';

-- Valid they stay.
