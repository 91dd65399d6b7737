-- CreateWallet returns 1 if the wallet is new, else 0, and then changes nothing, nor the metadata. A wallet's
-- identity follows from its idempotency key, so that a retry finds the first one.
-- name: CreateWallet :one
WITH created AS (
  INSERT INTO wallets (id, currency, reference, tenant) VALUES (@id, @currency, @reference, @tenant) ON CONFLICT (id) DO NOTHING RETURNING id
), described AS (
  INSERT INTO wallet_metadata (wallet_id, metadata) SELECT id, sqlc.narg(metadata)::jsonb FROM created WHERE sqlc.narg(metadata)::jsonb IS NOT NULL
)
SELECT count(*) FROM created;

-- CreateSequence gives a new wallet its place to count operations. It belongs in the transaction of
-- CreateWallet.
-- name: CreateSequence :exec
INSERT INTO wallet_sequences (wallet_id, tenant) VALUES (@wallet_id, @tenant) ON CONFLICT (wallet_id) DO NOTHING;

-- GetWallet returns pgx.ErrNoRows if there is no such wallet.
-- name: GetWallet :one
SELECT * FROM wallets WHERE id = @id;

-- LockSequences locks in id order, so that two flushes can never deadlock. Each wallet comes with the tenant
-- that asks for it. One that it does not have is not touched, or it would wait for whoever has locked it,
-- while a wallet that does not exist never waits. A wallet that several ask for may come several times.
-- name: LockSequences :many
SELECT s.* FROM wallet_sequences s
JOIN (SELECT unnest(@wallet_ids::uuid[]) AS id, unnest(@tenants::text[]) AS tenant) a ON s.wallet_id = a.id AND a.tenant IN (s.tenant, '*')
ORDER BY s.wallet_id FOR UPDATE OF s;

-- LockFreeSequences skips rows that another transaction has locked.
-- name: LockFreeSequences :many
SELECT s.* FROM wallet_sequences s
JOIN (SELECT unnest(@wallet_ids::uuid[]) AS id, unnest(@tenants::text[]) AS tenant) a ON s.wallet_id = a.id AND a.tenant IN (s.tenant, '*')
ORDER BY s.wallet_id FOR UPDATE OF s SKIP LOCKED;

-- ReadClock is what the operations' created_at follows from. It must be a later statement than
-- LockSequences: now() is the transaction's begin, and the statement that locks reads even
-- clock_timestamp() before it waits, so that the second to lock a wallet might have the earlier time.
-- name: ReadClock :one
SELECT clock_timestamp()::timestamptz AS now;

-- ExistingWallets returns the wallets that exist: those that LockFreeSequences has skipped among them.
-- name: ExistingWallets :many
SELECT s.wallet_id, s.tenant FROM wallet_sequences s
JOIN (SELECT unnest(@wallet_ids::uuid[]) AS id, unnest(@tenants::text[]) AS tenant) a ON s.wallet_id = a.id AND a.tenant IN (s.tenant, '*');

-- FindOperations must be a later statement than LockSequences: a statement that waited for a lock
-- keeps the snapshot it began with, and would not see what the lock's last holder committed.
-- name: FindOperations :many
SELECT * FROM operation_states WHERE id = ANY (@ids::uuid[]);

-- FindSubjects returns what is never to change of the operations that requests refer to. It must be a later statement
-- than LockSequences, too.
-- name: FindSubjects :many
SELECT id, wallet_id, type, counterpart_id FROM operations WHERE id = ANY (@ids::uuid[]);

-- FindWallets returns what is never to change of the wallets between which requests move money. It locks none.
-- name: FindWallets :many
SELECT id, currency, tenant FROM wallets WHERE id = ANY (@ids::uuid[]);

-- InsertOperations fails with a unique violation on operations_id if one of the operations was
-- accepted before. The last five arrays may be null, if none of the operations has such a value.
-- name: InsertOperations :exec
INSERT INTO operations (wallet_id, seq, id, type, amount, reference, created_at, subject_id, counterpart_id, expires_at, final, metadata)
SELECT unnest(@wallet_ids::uuid[]), unnest(@seqs::bigint[]), unnest(@ids::uuid[]),
       unnest((@types::text[])::operation_type[]), unnest(@amounts::bigint[]), nullif(unnest(@refs::text[]), ''),
       unnest(@created_ats::timestamptz[]),
       nullif(unnest(@subject_ids::uuid[]), '00000000-0000-0000-0000-000000000000'),
       nullif(unnest(@counterpart_ids::uuid[]), '00000000-0000-0000-0000-000000000000'),
       nullif(unnest(@expires_ats::text[]), '')::timestamptz, nullif(unnest(@finals::text[]), '')::boolean,
       nullif(unnest(@metadatas::text[]), '')::jsonb;

-- InsertOutbox inserts in the order of its arguments, so that a wallet's rows have ids in the order
-- of their sequence.
-- name: InsertOutbox :exec
INSERT INTO outbox (topic, headers, key, payload)
SELECT @topic::text, @headers::text, m.key::text, m.payload::bytea
FROM ROWS FROM (unnest(@keys::text[]), unnest(@payloads::bytea[])) WITH ORDINALITY AS m (key, payload, n)
ORDER BY m.n;

-- InsertTracedOutbox is InsertOutbox with each row's own headers, which name the operation's trace.
-- name: InsertTracedOutbox :exec
INSERT INTO outbox (topic, headers, key, payload)
SELECT @topic::text, m.headers::text, m.key::text, m.payload::bytea
FROM ROWS FROM (unnest(@headers::text[]), unnest(@keys::text[]), unnest(@payloads::bytea[])) WITH ORDINALITY AS m (headers, key, payload, n)
ORDER BY m.n;

-- AdvanceSequences needs the rows locked by LockSequences.
-- name: AdvanceSequences :exec
UPDATE wallet_sequences s SET last_seq = a.last_seq, last_at = a.last_at
FROM (SELECT unnest(@wallet_ids::uuid[]) AS wallet_id, unnest(@last_seqs::bigint[]) AS last_seq,
             unnest(@last_ats::timestamptz[]) AS last_at) a
WHERE s.wallet_id = a.wallet_id;

-- GetOperation returns pgx.ErrNoRows if the wallet has no such operation, or the tenant no such wallet. It looks at the wallet first,
-- and at the operation only if the tenant has that.
-- name: GetOperation :one
SELECT o.* FROM operation_states o WHERE o.id = @id AND o.wallet_id = @wallet_id
  AND EXISTS (SELECT FROM wallet_sequences s WHERE s.wallet_id = @wallet_id AND @tenant::text IN (s.tenant, '*'));

-- WakeRelay ends the wait of a relay that has found nothing for a while. It is a transaction of its own, after
-- that of the rows: Postgres gives out notifications one transaction at a time, and the accepting one would
-- occupy that place while its commit waits for the disk or a standby. This one waits for neither.
-- name: WakeRelay :exec
SELECT set_config('synchronous_commit', 'off', true), pg_notify('wallet_outbox', '');
