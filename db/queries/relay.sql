-- RelayWindow returns the rows that became visible since the snapshot prev, in id order; cur is the
-- statement's own snapshot, the next prev. More than max_rows rows (it returns one more at most per
-- branch) mean that the window is to be read in pages: keep cur and drop the rows. Both branches
-- read index (xid, id).
-- name: RelayWindow :many
WITH w AS MATERIALIZED (
  (SELECT * FROM outbox WHERE xid >= pg_snapshot_xmax((@prev::text)::pg_snapshot) ORDER BY xid LIMIT (sqlc.arg(max_rows)::bigint + 1))
  UNION ALL
  (SELECT o.* FROM pg_snapshot_xip((@prev::text)::pg_snapshot) x (xid)
   CROSS JOIN LATERAL (SELECT * FROM outbox WHERE outbox.xid = x.xid ORDER BY xid LIMIT (sqlc.arg(max_rows)::bigint + 1)) o LIMIT (sqlc.arg(max_rows)::bigint + 1))
)
SELECT id, topic, key, payload, headers, pg_current_snapshot()::text AS cur FROM w ORDER BY id;

-- RelayExtent returns the first and last id of the rows between two snapshots, on index (xid, id).
-- Its time grows with the window, 0.5 µs a row: give it a statement_timeout of its own.
-- name: RelayExtent :one
SELECT coalesce(min(w.id), 0)::bigint AS first_id, coalesce(max(w.id), 0)::bigint AS last_id, count(*) AS row_count FROM (
  SELECT id FROM outbox
  WHERE xid >= pg_snapshot_xmax((@prev::text)::pg_snapshot) AND xid < pg_snapshot_xmax((@cur::text)::pg_snapshot)
    AND pg_visible_in_snapshot(xid, (@cur::text)::pg_snapshot)
  UNION ALL
  SELECT o.id FROM pg_snapshot_xip((@prev::text)::pg_snapshot) x (xid)
  CROSS JOIN LATERAL (SELECT id FROM outbox
    WHERE outbox.xid = x.xid AND pg_visible_in_snapshot(outbox.xid, (@cur::text)::pg_snapshot) OFFSET 0) o) w;

-- RelayPage returns the rows between two snapshots whose ids are in (after, after + width], up to
-- last, on the primary key. An empty page is normal. There is no LIMIT: with one, a table without
-- statistics makes every page sort the rest of the window.
-- name: RelayPage :many
SELECT id, topic, key, payload, headers FROM outbox
WHERE id > sqlc.arg(after)::bigint AND id <= least(sqlc.arg(last)::bigint, sqlc.arg(after)::bigint + sqlc.arg(width)::bigint)
  AND NOT pg_visible_in_snapshot(xid, (@prev::text)::pg_snapshot) AND pg_visible_in_snapshot(xid, (@cur::text)::pg_snapshot)
ORDER BY id;

-- Topics lists the registered topics.
-- name: Topics :many
SELECT * FROM outbox_topics;
