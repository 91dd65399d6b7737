-- RegisterTopic reports whether the topic is new. The count of a registered topic never changes.
-- name: RegisterTopic :execrows
INSERT INTO outbox_topics (topic, partitions) VALUES (@topic, @partitions) ON CONFLICT (topic) DO NOTHING;

-- TopicPartitions returns pgx.ErrNoRows if the topic is not registered.
-- name: TopicPartitions :one
SELECT partitions FROM outbox_topics WHERE topic = @topic;

-- OutboxRow returns pgx.ErrNoRows if there is no such row; published: every relay is past it.
-- name: OutboxRow :one
SELECT topic, key, created_at,
  coalesce((SELECT bool_and(pg_visible_in_snapshot(outbox.xid, p.prev)) FROM relay_positions p), false)::boolean AS published
FROM outbox WHERE id = @id;

-- ParkRow reports whether the row was not parked before.
-- name: ParkRow :execrows
INSERT INTO parked_rows (outbox_id, actor, reason) VALUES (@outbox_id, @actor, @reason) ON CONFLICT (outbox_id) DO NOTHING;

-- ParkedRows lists them in order.
-- name: ParkedRows :many
SELECT * FROM parked_rows ORDER BY outbox_id;

-- UnparkRow reports whether the row was parked.
-- name: UnparkRow :execrows
DELETE FROM parked_rows WHERE outbox_id = @outbox_id;

-- SetPaused pauses or resumes a relay.
-- name: SetPaused :exec
INSERT INTO relay_controls (relay, paused_at, reason) VALUES (@relay, CASE WHEN @paused::boolean THEN now() END, nullif(@reason::text, ''))
ON CONFLICT (relay) DO UPDATE SET paused_at = excluded.paused_at, reason = excluded.reason;

-- ResetPositions makes every relay begin at the first row, in this database.
-- name: ResetPositions :execrows
UPDATE relay_positions SET prev = '1:1:', cur = NULL, after_id = 0, last_id = 0, updated_at = now(),
  system_identifier = (SELECT system_identifier FROM pg_control_system()),
  database_oid = (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = current_database());

-- AdoptRows gives rows of transactions that this database has yet to run, rows of another database
-- that is, the current transaction. Otherwise they would be published again and again, until this
-- database had run as many transactions.
-- name: AdoptRows :execrows
UPDATE outbox SET xid = pg_current_xact_id() WHERE xid >= pg_snapshot_xmax(pg_current_snapshot());

-- PositionsFit reports whether everything the relays rest on is from this database, by the signs that
-- LoadPosition goes by.
-- name: PositionsFit :one
SELECT (NOT EXISTS (SELECT FROM outbox WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
  AND NOT EXISTS (SELECT FROM relay_positions p, pg_control_system() c, pg_catalog.pg_database d
    WHERE d.datname = current_database() AND (p.system_identifier <> c.system_identifier OR p.database_oid <> d.oid::bigint
      OR greatest(pg_snapshot_xmax(p.prev), pg_snapshot_xmax(p.cur)) > pg_snapshot_xmax(pg_current_snapshot()))))::boolean AS fit;

-- OutboxSpan returns how many rows the outbox has at most.
-- name: OutboxSpan :one
SELECT coalesce(max(id) - min(id) + 1, 0)::bigint AS span FROM outbox;
