-- LockWallets locks in id order so that two workers can never deadlock. NO KEY lets inserts that
-- reference a locked wallet go on.
-- name: LockWallets :many
SELECT * FROM wallets WHERE id = ANY (@ids::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- PendingOperations returns, in order, what the wallets have accepted up to their sequence in
-- up_to and not applied yet, and how long ago each was accepted, by the database's clock alone. It
-- must be a later statement than LockWallets: a statement that waited for a lock keeps the snapshot
-- it began with, and would read an applied_seq that has moved since.
-- name: PendingOperations :many
SELECT o.wallet_id, o.seq, o.id, o.type, o.amount,
       extract(epoch FROM clock_timestamp() - o.created_at)::float8 AS age_seconds
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@up_to::bigint[]) AS seq) t
JOIN wallets w ON w.id = t.id
CROSS JOIN LATERAL (
  SELECT * FROM operations p
  WHERE p.wallet_id = t.id AND p.seq > w.applied_seq AND p.seq <= t.seq
  ORDER BY p.seq LIMIT sqlc.arg(max_rows)::bigint) o
ORDER BY o.wallet_id, o.seq LIMIT sqlc.arg(max_rows)::bigint;

-- InsertOutcomes fails with a unique violation if one of the operations has an outcome already. It reads
-- the clock once, and after LockWallets, so that applied_at follows the sequence: the default, now(), is
-- the transaction's begin, and the second to lock a wallet may have begun first.
-- name: InsertOutcomes :exec
INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, applied_at)
SELECT unnest(@wallet_ids::uuid[]), unnest(@seqs::bigint[]), unnest((@statuses::text[])::outcome_status[]),
       nullif(unnest(@failure_reasons::text[]), ''), unnest(@balances_after::bigint[]),
       (SELECT clock_timestamp());

-- AdvanceWallets moves wallets forward only, and returns how many it moved.
-- name: AdvanceWallets :execrows
UPDATE wallets w SET balance = a.balance, applied_seq = a.applied_seq
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@balances::bigint[]) AS balance, unnest(@applied_seqs::bigint[]) AS applied_seq) a
WHERE w.id = a.id AND w.applied_seq < a.applied_seq;

-- LastSequences returns the last accepted sequence of wallets.
-- name: LastSequences :many
SELECT wallet_id, last_seq FROM wallet_sequences WHERE wallet_id = ANY (@wallet_ids::uuid[]);
