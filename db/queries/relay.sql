-- CreatePosition makes a relay's position if it has none: nothing is published yet.
-- name: CreatePosition :exec
INSERT INTO relay_positions (relay, prev, system_identifier, database_oid)
SELECT @relay::text, '1:1:', c.system_identifier, d.oid::bigint
FROM pg_control_system() c, pg_catalog.pg_database d WHERE d.datname = current_database()
ON CONFLICT (relay) DO NOTHING;

-- CreateEventsPosition makes the position of the topics other than the operations' if there is none. The relay's own
-- position was that of all topics before, so that it is where this one begins, and may only move when there are both.
-- name: CreateEventsPosition :exec
INSERT INTO relay_positions (relay, prev, cur, after_id, last_id, system_identifier, database_oid)
SELECT @events::text, p.prev, p.cur, p.after_id, p.last_id, p.system_identifier, p.database_oid
FROM relay_positions p WHERE p.relay = @relay
ON CONFLICT (relay) DO NOTHING;

-- LoadPosition returns how far a relay has published, and whether that means anything here: a
-- position, and the xids of the outbox, are worthless in another database than they come from. Two
-- signs show it: the position names another database, or transactions that do not exist yet.
-- name: LoadPosition :one
SELECT p.prev, p.cur, p.after_id, p.last_id,
  (p.system_identifier = c.system_identifier AND p.database_oid = d.oid::bigint)::boolean AS same_database,
  (greatest(pg_snapshot_xmax(p.prev), pg_snapshot_xmax(p.cur)) <= pg_snapshot_xmax(pg_current_snapshot())
    AND NOT EXISTS (SELECT FROM outbox WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())))::boolean AS within_horizon
FROM relay_positions p, pg_control_system() c, pg_catalog.pg_database d
WHERE p.relay = @relay AND d.datname = current_database();

-- SavePosition must only get what Kafka has acknowledged.
-- name: SavePosition :exec
UPDATE relay_positions SET prev = @prev::pg_snapshot, cur = sqlc.narg(cur)::pg_snapshot, after_id = @after_id, last_id = @last_id, updated_at = now()
WHERE relay = @relay;

-- RelayWindow returns the rows of a lane that became visible since the snapshot prev, in id order; cur is the
-- statement's own snapshot, the next prev. The lane's topic is topic, or, if others is true, every other one. Both
-- branches read index (xid, id), and any topic's rows, so that what is read is bounded whoever the rows are for; what
-- those of another lane hold is not copied. More than max_rows of them, or more than max_bytes of the lane's, are too
-- many, and none is returned: the window is to be read in pages. If there are rows of any topic, the first that is
-- returned is no row: it has the id 0, and says how many there are. Where synchronous is true, the relay commits query
-- Confirm before it publishes any of them.
-- name: RelayWindow :many
WITH w AS MATERIALIZED (
  SELECT id, mine, CASE WHEN mine THEN topic END AS topic, CASE WHEN mine THEN key END AS key,
         CASE WHEN mine THEN payload END AS payload, CASE WHEN mine THEN headers END AS headers FROM (
    (SELECT *, (topic = @topic::text) <> @others::boolean AS mine FROM outbox
     WHERE xid >= pg_snapshot_xmax(@prev::pg_snapshot) ORDER BY xid LIMIT (sqlc.arg(max_rows)::bigint + 1))
    UNION ALL
    (SELECT o.*, (o.topic = @topic::text) <> @others::boolean AS mine FROM pg_snapshot_xip(@prev::pg_snapshot) x (xid)
     CROSS JOIN LATERAL (SELECT * FROM outbox WHERE outbox.xid = x.xid ORDER BY xid LIMIT (sqlc.arg(max_rows)::bigint + 1)) o
     LIMIT (sqlc.arg(max_rows)::bigint + 1))) r
), n AS MATERIALIZED (
  SELECT count(*) AS found, (count(*) > sqlc.arg(max_rows)::bigint
    OR coalesce(sum(octet_length(key) + octet_length(payload) + octet_length(headers)), 0) > sqlc.arg(max_bytes)::bigint) AS too_many FROM w
)
SELECT 0::bigint AS id, '' AS topic, '' AS key, ''::bytea AS payload, '' AS headers, found, too_many::boolean AS too_many,
       (SELECT pg_current_snapshot())::text AS cur, (SELECT current_setting('synchronous_standby_names') <> '')::boolean AS synchronous FROM n WHERE found > 0
UNION ALL
SELECT id, topic, key, payload, headers, 0, false, '', false FROM w WHERE mine AND NOT (SELECT too_many FROM n)
ORDER BY id;

-- RelayExtent returns the first and last id of the rows of all topics between two snapshots, on index (xid, id).
-- Its time grows with the window, 0.5 µs a row: give it a statement_timeout of its own.
-- name: RelayExtent :one
SELECT coalesce(min(w.id), 0)::bigint AS first_id, coalesce(max(w.id), 0)::bigint AS last_id FROM (
  SELECT id FROM outbox
  WHERE xid >= pg_snapshot_xmax(@prev::pg_snapshot) AND xid < pg_snapshot_xmax(@cur::pg_snapshot)
    AND pg_visible_in_snapshot(xid, @cur::pg_snapshot)
  UNION ALL
  SELECT o.id FROM pg_snapshot_xip(@prev::pg_snapshot) x (xid)
  CROSS JOIN LATERAL (SELECT id FROM outbox
    WHERE outbox.xid = x.xid AND pg_visible_in_snapshot(outbox.xid, @cur::pg_snapshot) OFFSET 0) o) w;

-- SetStatementTimeout lasts as long as the transaction.
-- name: SetStatementTimeout :exec
SELECT set_config('statement_timeout', @milliseconds, true);

-- RelayPage returns the rows of a lane between two snapshots whose ids are in (after, up_to], on the primary key, as
-- long as those before are not max_bytes yet: if all together are, there may be more. An empty page is normal. There
-- is no LIMIT: with one, a table without statistics makes every page sort the rest of the window.
-- name: RelayPage :many
SELECT id, topic, key, payload, headers FROM (
  SELECT id, topic, key, payload, headers,
    sum(octet_length(key) + octet_length(payload) + octet_length(headers)) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM outbox
  WHERE id > sqlc.arg(after)::bigint AND id <= sqlc.arg(up_to)::bigint
    AND (topic = @topic::text) <> @others::boolean
    AND NOT pg_visible_in_snapshot(xid, @prev::pg_snapshot) AND pg_visible_in_snapshot(xid, @cur::pg_snapshot)) p
WHERE before < sqlc.arg(max_bytes)::bigint OR before IS NULL
ORDER BY id;

-- Topics lists the registered topics.
-- name: Topics :many
SELECT * FROM outbox_topics;

-- RelayControls returns what operators ordered: whether to pause, and the rows to skip.
-- name: RelayControls :one
SELECT EXISTS (SELECT FROM relay_controls WHERE relay = @relay AND paused_at IS NOT NULL)::boolean AS paused,
  ARRAY(SELECT outbox_id FROM parked_rows)::bigint[] AS parked;

-- RelayBacklog counts, for both positions of a relay, the rows that are not published yet, among the first max_rows rows
-- of all topics that the position is not past, and returns how long the oldest of these has waited. It names the
-- columns that it reads: the api may read no others.
-- name: RelayBacklog :many
SELECT p.relay, count(w.id) AS waiting_rows, coalesce(extract(epoch FROM clock_timestamp() - min(w.created_at)), 0)::float8 AS oldest_seconds
FROM relay_positions p LEFT JOIN LATERAL (
  (SELECT id, xid, topic, created_at FROM outbox WHERE xid >= pg_snapshot_xmax(p.prev) ORDER BY xid LIMIT sqlc.arg(max_rows)::bigint)
  UNION ALL
  (SELECT o.id, o.xid, o.topic, o.created_at FROM pg_snapshot_xip(p.prev) x (xid)
   CROSS JOIN LATERAL (SELECT id, xid, topic, created_at FROM outbox WHERE outbox.xid = x.xid ORDER BY xid LIMIT sqlc.arg(max_rows)::bigint) o LIMIT sqlc.arg(max_rows)::bigint)
) w ON (w.topic = @topic::text) <> (p.relay = @events::text) AND (p.cur IS NULL OR w.id > p.after_id OR NOT pg_visible_in_snapshot(w.xid, p.cur))
WHERE p.relay IN (@relay::text, @events::text) GROUP BY p.relay;

-- FirstRow returns the smallest id of the outbox greater than after. With the last deleted id as after, it
-- reads no dead tuples, 2 µs each: give it a statement_timeout of its own for the first time.
-- name: FirstRow :one
SELECT id FROM outbox WHERE id > sqlc.arg(after)::bigint ORDER BY id LIMIT 1;

-- DeletePublished deletes the rows of a range of ids that are old enough and that every relay has
-- published. A row is only published for certain when its transaction is visible in prev.
-- name: DeletePublished :execrows
WITH positions AS MATERIALIZED (SELECT prev FROM relay_positions)
DELETE FROM outbox o
WHERE id > sqlc.arg(after)::bigint AND id <= sqlc.arg(up_to)::bigint AND created_at < now() - make_interval(secs => sqlc.arg(retention_seconds)::float8)
  AND (SELECT bool_and(pg_visible_in_snapshot(o.xid, p.prev)) FROM positions p);

-- ListenForRows asks for the notifications of WakeRelay, for as long as the connection lasts.
-- name: ListenForRows :exec
LISTEN wallet_outbox;
