-- AuditWallets returns a page of the wallets from one id up to another, in order, each with its last accepted sequence; -1 if its row
-- of wallet_sequences is missing.
-- name: AuditWallets :many
SELECT w.id, w.balance, w.applied_seq, coalesce(s.last_seq, -1)::bigint AS last_seq
FROM wallets w LEFT JOIN wallet_sequences s ON s.wallet_id = w.id
WHERE w.id >= sqlc.arg(from_id) AND w.id <= sqlc.arg(up_to) ORDER BY w.id LIMIT sqlc.arg(max_rows);

-- AuditOperations returns a page of operations and outcomes by wallet and sequence, joined where
-- both exist; the type or the status is empty, and the time is the epoch, where a side is missing. age_seconds is how long ago the
-- operation was accepted, by the database's clock alone. Each side is cut to the page first, so that a
-- page costs the same however much follows.
-- name: AuditOperations :many
SELECT coalesce(o.wallet_id, c.wallet_id)::uuid AS wallet_id, coalesce(o.seq, c.seq)::bigint AS seq,
       coalesce(o.type::text, '')::text AS type, coalesce(o.amount, 0)::bigint AS amount,
       coalesce(extract(epoch FROM now() - o.created_at), 0)::float8 AS age_seconds,
       coalesce(o.created_at, 'epoch')::timestamptz AS created_at, coalesce(c.applied_at, 'epoch')::timestamptz AS applied_at,
       coalesce(c.status::text, '')::text AS status, coalesce(c.balance_after, 0)::bigint AS balance_after
FROM (SELECT * FROM operations p
      WHERE (p.wallet_id, p.seq) > (sqlc.arg(after_wallet)::uuid, sqlc.arg(after_seq)::bigint) AND p.wallet_id <= sqlc.arg(up_to)::uuid
      ORDER BY p.wallet_id, p.seq LIMIT sqlc.arg(max_rows)::bigint) o
FULL JOIN (SELECT * FROM outcomes q
      WHERE (q.wallet_id, q.seq) > (sqlc.arg(after_wallet)::uuid, sqlc.arg(after_seq)::bigint) AND q.wallet_id <= sqlc.arg(up_to)::uuid
      ORDER BY q.wallet_id, q.seq LIMIT sqlc.arg(max_rows)::bigint) c
  ON c.wallet_id = o.wallet_id AND c.seq = o.seq
ORDER BY 1, 2 LIMIT sqlc.arg(max_rows)::bigint;

-- AuditOutbox returns a topic's outbox rows in a range of ids, those of one key if it is not empty.
-- name: AuditOutbox :many
SELECT id, key, payload FROM outbox
WHERE id > sqlc.arg(after) AND id <= sqlc.arg(up_to) AND topic = @topic AND (sqlc.arg(only_key)::text = '' OR key = sqlc.arg(only_key)::text)
ORDER BY id;

-- GetOutcome returns pgx.ErrNoRows if the wallet's operation of that sequence is not finished.
-- name: GetOutcome :one
SELECT * FROM outcomes WHERE wallet_id = @wallet_id AND seq = @seq;

-- AcceptedOperations returns those of the operations that exist.
-- name: AcceptedOperations :many
SELECT wallet_id, seq, id, type, amount FROM operations WHERE id = ANY (@ids::uuid[]);

-- OutboxTopics lists the topics that the outbox has rows of. It reads all of it.
-- name: OutboxTopics :many
SELECT DISTINCT topic FROM outbox ORDER BY topic;
