-- migrate:up
SET LOCAL lock_timeout = '3s';

-- A migration of their own: Postgres lets no statement use a new value in the transaction that adds it.
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'HOLD';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'CAPTURE';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'RELEASE';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'EXPIRE';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'REVERSE';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'TRANSFER';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'RECEIVE';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'RETURN';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'FREEZE';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'ACTIVATE';
ALTER TYPE operation_type ADD VALUE IF NOT EXISTS 'CLOSE';

-- migrate:down
SET LOCAL lock_timeout = '3s';

-- The values stay: Postgres cannot take one away.
