-- EndIdle ends the session, and its locks with it, when it was not used for so long.
-- name: EndIdle :exec
SELECT set_config('idle_session_timeout', (sqlc.arg(idle_timeout_ms)::bigint)::text, false);

-- LastOutboxID returns the last id of the outbox, zero if it is empty. A query for the first one would
-- scan the dead tuples of all rows deleted before it that are not vacuumed.
-- name: LastOutboxID :one
SELECT coalesce((SELECT id FROM outbox ORDER BY id DESC LIMIT 1), 0)::bigint AS id;

-- OutboxOlderThan says whether the first row from id on is older than a time.
-- name: OutboxOlderThan :one
SELECT coalesce((SELECT o.created_at < now() - sqlc.arg(age_ms)::bigint * interval '1 millisecond'
                 FROM outbox o WHERE o.id >= sqlc.arg(id)::bigint ORDER BY o.id LIMIT 1), false)::boolean AS older;

-- OutboxHorizon returns the last id of the outbox and, of the same moment, the first transaction that
-- still runs and the first that has not begun. Ids are given before their transactions commit, and a
-- commit may wait for a standby for hours: ids up to last_id are complete once no transaction before
-- next_xid runs any longer.
-- name: OutboxHorizon :one
SELECT coalesce((SELECT id FROM outbox ORDER BY id DESC LIMIT 1), 0)::bigint AS last_id,
       pg_snapshot_xmin(pg_current_snapshot())::xid8 AS oldest_xid, pg_snapshot_xmax(pg_current_snapshot())::xid8 AS next_xid;

-- OutboxAfter returns the next rows by id, each with whether it is old. So is one that is more than 5 s ahead of the
-- clock, which was set back then. Those of other topics are empty: there may be many, and large ones.
-- name: OutboxAfter :many
SELECT id, (CASE WHEN topic = sqlc.arg(topic)::text THEN payload END)::bytea AS payload,
       coalesce(CASE WHEN topic = sqlc.arg(topic)::text THEN headers END, '')::text AS headers,
       (created_at < now() - sqlc.arg(age_ms)::bigint * interval '1 millisecond' OR created_at > now() + interval '5 seconds')::boolean AS old
FROM outbox WHERE id > sqlc.arg(after)::bigint AND id <= sqlc.arg(up_to)::bigint ORDER BY id LIMIT sqlc.arg(max_rows)::bigint;

-- WalletsBehind returns those of the wallets that have not applied their sequence yet.
-- name: WalletsBehind :many
SELECT w.id FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@seqs::bigint[]) AS seq) t
JOIN wallets w ON w.id = t.id WHERE w.applied_seq < t.seq;

-- WalletsAfter returns the next wallets by id. The subselect runs once for each of them: a join would
-- read all of wallet_sequences.
-- name: WalletsAfter :many
SELECT w.id, w.applied_seq,
       coalesce((SELECT s.last_seq FROM wallet_sequences s WHERE s.wallet_id = w.id), 0)::bigint AS last_seq
FROM wallets w WHERE w.id > sqlc.arg(after)::uuid ORDER BY w.id LIMIT sqlc.arg(max_rows)::bigint;

-- InTransitTo returns those of the wallets that have something pending, each with how long its oldest pending RECEIVE or RETURN
-- has been accepted, of the next max_rows operations: 0 if there is none.
-- name: InTransitTo :many
SELECT w.id, coalesce(extract(epoch FROM clock_timestamp() - min(o.created_at) FILTER (WHERE o.type IN ('RECEIVE', 'RETURN'))), 0)::float8 AS seconds
FROM (SELECT unnest(@ids::uuid[]) AS id) t
JOIN wallets w ON w.id = t.id
CROSS JOIN LATERAL (SELECT p.type, p.created_at FROM operations p
  WHERE p.wallet_id = w.id AND p.seq > w.applied_seq ORDER BY p.seq LIMIT sqlc.arg(max_rows)::bigint) o
GROUP BY w.id;
