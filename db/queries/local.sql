-- AppliedSequences is how far wallets are applied, as anyone sees it.
-- name: AppliedSequences :many
SELECT id, applied_seq FROM wallets WHERE id = ANY (@ids::uuid[]);

-- Totals adds up, over all wallets and in one snapshot, what has to be equal when nothing is pending.
-- name: Totals :one
SELECT (SELECT count(*) FROM operations) AS operations,
       (SELECT count(*) FROM outcomes) AS outcomes,
       (SELECT coalesce(sum(last_seq), 0) FROM wallet_sequences)::bigint AS last_seq,
       (SELECT coalesce(sum(applied_seq), 0) FROM wallets)::bigint AS applied_seq,
       (SELECT coalesce(sum(balance), 0) FROM wallets)::bigint AS balance,
       (SELECT coalesce(sum(CASE type WHEN 'DEPOSIT' THEN amount ELSE -amount END), 0)
        FROM operation_states WHERE status = 'PROCESSED')::bigint AS processed,
       (SELECT count(*) FROM operation_states WHERE status = 'FAILED') AS failed;

-- StoredOperations returns every operation but those of some wallets, to compare it with what clients
-- sent. It reads all of them at once: a demonstration's or a test's.
-- name: StoredOperations :many
SELECT wallet_id, seq, id, type, amount, created_at, applied_at FROM operation_states
WHERE wallet_id <> ALL (coalesce(@without::uuid[], '{}')) ORDER BY wallet_id, seq;
