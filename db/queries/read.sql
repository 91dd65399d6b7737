-- ListWallets returns a page of all wallets, in id order.
-- name: ListWallets :many
SELECT * FROM wallets WHERE id > @after ORDER BY id LIMIT sqlc.arg(max_rows)::int;

-- ListWalletsByReference returns a page of the wallets with a reference, in id order.
-- name: ListWalletsByReference :many
SELECT * FROM wallets WHERE reference = @reference::text AND id > @after ORDER BY id LIMIT sqlc.arg(max_rows)::int;

-- LastSequence returns pgx.ErrNoRows if there is no such wallet.
-- name: LastSequence :one
SELECT last_seq FROM wallet_sequences WHERE wallet_id = @wallet_id;

-- OperationsBetween returns a wallet's operations between two sequences, in order. Sequences are
-- dense, so the bounds make a page.
-- name: OperationsBetween :many
SELECT * FROM operations
WHERE wallet_id = @wallet_id AND seq > @after AND seq < @before ORDER BY seq;

-- OutcomesBetween returns their outcomes, in order. It is no join: while the planner has no
-- statistics, it would read all outcomes of the page for each operation.
-- name: OutcomesBetween :many
SELECT * FROM outcomes WHERE wallet_id = @wallet_id AND seq > @after AND seq < @before ORDER BY seq;

-- WalletVersions returns how far wallets are applied.
-- name: WalletVersions :many
SELECT id, applied_seq FROM wallets WHERE id = ANY (@ids::uuid[]);
