-- RegisterTopic reports whether the topic is new. The count of a registered topic never changes.
-- name: RegisterTopic :execrows
INSERT INTO outbox_topics (topic, partitions) VALUES (@topic, @partitions) ON CONFLICT (topic) DO NOTHING;

-- TopicPartitions returns pgx.ErrNoRows if the topic is not registered.
-- name: TopicPartitions :one
SELECT partitions FROM outbox_topics WHERE topic = @topic;

-- OutboxRow returns pgx.ErrNoRows if there is no such row; published: every relay is past it, by the position that its
-- topic is of: a relay's own is of the operations' topic, and that of its events of every other one, if there is one.
-- name: OutboxRow :one
SELECT topic, key, created_at,
  coalesce((SELECT bool_and(pg_visible_in_snapshot(outbox.xid, p.prev)
      OR coalesce(outbox.id <= p.after_id AND pg_visible_in_snapshot(outbox.xid, p.cur), false)) FROM relay_positions p
    WHERE (p.relay LIKE '%/events') = (outbox.topic <> sqlc.arg(operations)::text)
      OR NOT EXISTS (SELECT FROM relay_positions e WHERE e.relay = p.relay || '/events' OR p.relay LIKE '%/events')), false)::boolean AS published
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
-- LoadPosition goes by. It reads the outbox's last xid alone: the planner takes a search for a greater one,
-- which there is not, for one that ends soon, and would read all rows.
-- name: PositionsFit :one
SELECT (coalesce((SELECT xid FROM outbox ORDER BY xid DESC LIMIT 1) < pg_snapshot_xmax(pg_current_snapshot()), true)
  AND NOT EXISTS (SELECT FROM relay_positions p, pg_control_system() c, pg_catalog.pg_database d
    WHERE d.datname = current_database() AND (p.system_identifier <> c.system_identifier OR p.database_oid <> d.oid::bigint
      OR greatest(pg_snapshot_xmax(p.prev), pg_snapshot_xmax(p.cur)) > pg_snapshot_xmax(pg_current_snapshot()))))::boolean AS fit;

-- OutboxSpan returns how many rows the outbox has at most.
-- name: OutboxSpan :one
SELECT coalesce(max(id) - min(id) + 1, 0)::bigint AS span FROM outbox;

-- NoteAction records who did what and why. It belongs in the transaction of what was done.
-- name: NoteAction :exec
INSERT INTO operator_actions (actor, action, reason) VALUES (@actor, @action, @reason);

-- ListActions returns the last ones, the newest first.
-- name: ListActions :many
SELECT * FROM operator_actions ORDER BY id DESC LIMIT sqlc.arg(max_rows)::int;

-- DatabaseTime is the database's clock, which all times here are of, and whether the schema exists that
-- search_path names.
-- name: DatabaseTime :one
SELECT clock_timestamp()::timestamptz AS at, (current_schema() IS NOT NULL)::boolean AS has_schema, current_setting('search_path')::text AS search_path;

-- CountWallets counts up to max_rows of them.
-- name: CountWallets :one
SELECT count(*) FROM (SELECT FROM wallets LIMIT sqlc.arg(max_rows)::bigint) w;

-- CountOperations counts up to max_rows of them.
-- name: CountOperations :one
SELECT count(*) FROM (SELECT FROM operations LIMIT sqlc.arg(max_rows)::bigint) o;

-- LimitSection limits what follows in its transaction.
-- name: LimitSection :exec
SELECT set_config('lock_timeout', @lock_ms::text, true), set_config('statement_timeout', @statement_ms::text, true);

-- RowsBetween counts the outbox rows of a topic in a range of ids. Both ends are named, and none is a LIMIT: on a table
-- without statistics the planner would read all of it.
-- name: RowsBetween :one
SELECT count(*) FROM outbox WHERE id > sqlc.arg(after)::bigint AND id <= sqlc.arg(up_to)::bigint AND topic = @topic::text;

-- AppliedLately counts the outcomes of the last second. Rows are never deleted from the table, so new ones
-- are in its last pages, and no other is read.
-- name: AppliedLately :one
SELECT count(*) FROM outcomes
WHERE applied_at > now() - interval '1 second'
  AND ctid >= (SELECT format('(%s,1)', greatest(pg_relation_size('outcomes') / current_setting('block_size')::int - sqlc.arg(max_pages)::bigint, 0)))::tid;

-- EstimateRows returns about how many rows a table has, as the planner reckons: the rows to a page that
-- the last vacuum or analyze found, times the pages there are now; 0 before the first.
-- name: EstimateRows :one
SELECT coalesce(c.reltuples / nullif(c.relpages, 0) * pg_relation_size(c.oid) / current_setting('block_size')::int, 0)::bigint AS rows
FROM pg_catalog.pg_class c WHERE c.oid = (sqlc.arg(table_name)::text)::regclass;

-- BehindWallets looks at the wallets that some outbox rows of a topic name: for each id of up_to, the
-- last max_rows rows up to it. It returns those with pending operations that have waited longest, and
-- how many operations are pending in all that it saw. If the next operation to apply is missing, the
-- wallet is halted. The subselects keep the planner from reading all wallets and all operations.
-- name: BehindWallets :many
WITH seen AS MATERIALIZED (
  SELECT DISTINCT CASE WHEN pg_input_is_valid(key, 'uuid') THEN key::uuid END AS id
  FROM (SELECT unnest(@up_to::bigint[]) AS id) u CROSS JOIN LATERAL (
    SELECT topic, key FROM outbox WHERE outbox.id <= u.id ORDER BY outbox.id DESC LIMIT sqlc.arg(max_rows)::bigint) m
  WHERE topic = @topic)
SELECT b.id, b.applied_seq, b.last_seq, (b.next_accepted_at IS NULL)::boolean AS halted,
  coalesce((SELECT o.type::text FROM operations o WHERE o.wallet_id = b.id AND o.seq = b.applied_seq + 1), '')::text AS next_type,
  coalesce(extract(epoch FROM clock_timestamp() - b.next_accepted_at), 0)::float8 AS age_seconds,
  (sum(b.last_seq - b.applied_seq) OVER ())::bigint AS pending
FROM (
  SELECT w.id, w.applied_seq, s.last_seq,
    (SELECT o.created_at FROM operations o WHERE o.wallet_id = w.id AND o.seq = w.applied_seq + 1) AS next_accepted_at
  FROM seen
  CROSS JOIN LATERAL (SELECT wallets.id, applied_seq FROM wallets WHERE wallets.id = seen.id LIMIT 1) w
  CROSS JOIN LATERAL (SELECT last_seq FROM wallet_sequences WHERE wallet_id = seen.id LIMIT 1) s
  WHERE s.last_seq > w.applied_seq) b
ORDER BY b.next_accepted_at NULLS FIRST LIMIT sqlc.arg(max_wallets)::int;

-- InTransit looks at the same wallets as BehindWallets, and of each at the first max_each operations that are pending:
-- the RECEIVEs and RETURNs among them are money that has left a wallet and is in no other. It returns them by currency.
-- name: InTransit :many
WITH seen AS MATERIALIZED (
  SELECT DISTINCT CASE WHEN pg_input_is_valid(key, 'uuid') THEN key::uuid END AS id
  FROM (SELECT unnest(@up_to::bigint[]) AS id) u CROSS JOIN LATERAL (
    SELECT topic, key FROM outbox WHERE outbox.id <= u.id ORDER BY outbox.id DESC LIMIT sqlc.arg(max_rows)::bigint) m
  WHERE topic = @topic),
pending AS MATERIALIZED (
  SELECT w.currency, o.type, o.amount, o.created_at
  FROM seen
  CROSS JOIN LATERAL (SELECT wallets.id, wallets.currency, applied_seq FROM wallets WHERE wallets.id = seen.id LIMIT 1) w
  CROSS JOIN LATERAL (SELECT p.type, p.amount, p.created_at FROM operations p
    WHERE p.wallet_id = w.id AND p.seq > w.applied_seq ORDER BY p.seq LIMIT sqlc.arg(max_each)::bigint) o
  LIMIT sqlc.arg(max_pending)::bigint)
SELECT currency, count(*) AS operations, least(sum(amount), 9223372036854775807)::bigint AS amount,
  extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS oldest_seconds
FROM pending WHERE type IN ('RECEIVE', 'RETURN') GROUP BY currency ORDER BY currency;

-- LateHolds counts, up to max_rows, the open holds that should have expired for so long, and says how long the first of them has.
-- name: LateHolds :one
SELECT count(*) AS holds, coalesce(max(extract(epoch FROM now() - h.expires_at)), 0)::float8 AS oldest_seconds
FROM (SELECT expires_at FROM open_holds WHERE expires_at < now() - sqlc.arg(late_ms)::bigint * interval '1 ms'
  ORDER BY expires_at LIMIT sqlc.arg(max_rows)::bigint) h;

-- DisabledTenants lists up to max_rows of them.
-- name: DisabledTenants :many
SELECT name FROM tenants WHERE disabled_at IS NOT NULL ORDER BY name LIMIT sqlc.arg(max_rows)::int;

-- HoldsOf returns up to max_rows of a wallet's open holds, in order, each with what remains of it.
-- name: HoldsOf :many
SELECT h.seq, h.hold_id, h.expires_at,
  coalesce((SELECT (SELECT c.subject_left FROM outcomes c WHERE c.wallet_id = p.wallet_id AND c.seq = p.seq LIMIT 1)
    FROM operations p WHERE p.subject_id = h.hold_id AND p.seq <= sqlc.arg(applied_seq)::bigint ORDER BY p.seq DESC LIMIT 1),
    (SELECT o.amount FROM operations o WHERE o.wallet_id = h.wallet_id AND o.seq = h.seq LIMIT 1))::bigint AS remaining
FROM open_holds h WHERE h.wallet_id = @wallet_id ORDER BY h.seq LIMIT sqlc.arg(max_rows)::int;

-- CountHoldsOf counts a wallet's open holds.
-- name: CountHoldsOf :one
SELECT count(*) FROM open_holds WHERE wallet_id = @wallet_id;

-- MetadataOf returns pgx.ErrNoRows if the wallet has none.
-- name: MetadataOf :one
SELECT metadata FROM wallet_metadata WHERE wallet_id = @wallet_id;

-- LastNaming returns the last applied operation that names a hold or an original, and how many name it, counted up to 1,000;
-- pgx.ErrNoRows if none has been applied.
-- name: LastNaming :one
SELECT c.seq, coalesce(c.subject_left, 0)::bigint AS subject_left,
  (SELECT count(*) FROM (SELECT FROM operations q WHERE q.subject_id = @id LIMIT 1000) n) AS named
FROM (SELECT p.wallet_id, p.seq FROM operations p
  WHERE p.subject_id = @id AND p.seq <= sqlc.arg(applied_seq)::bigint ORDER BY p.seq DESC LIMIT 1) l
CROSS JOIN LATERAL (SELECT * FROM outcomes o WHERE o.wallet_id = l.wallet_id AND o.seq = l.seq LIMIT 1) c;

-- StateOfOperation returns pgx.ErrNoRows if there is no such operation.
-- name: StateOfOperation :one
SELECT * FROM operation_states WHERE id = @id;

-- RelayStates returns each relay's saved positions, what an operator ordered, and which session leads:
-- the holder of the lock relay_lock. events: the position is that of all topics but the operations'.
-- name: RelayStates :many
SELECT p.relay, (p.relay <> r.name)::boolean AS events, p.prev, p.cur, p.after_id, p.last_id, extract(epoch FROM clock_timestamp() - p.updated_at)::float8 AS saved_seconds_ago,
  c.paused_at, coalesce(c.reason, '')::text AS pause_reason,
  coalesce((SELECT a.usename || ' ' || a.application_name
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = sqlc.arg(relay_lock)::int AND l.objsubid = 2
      AND l.objid::bigint = hashtext(r.name)::bigint & 4294967295
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()) LIMIT 1), '')::text AS leader
FROM relay_positions p CROSS JOIN LATERAL (SELECT regexp_replace(p.relay, '/events$', '') AS name) r
LEFT JOIN relay_controls c ON c.relay = r.name ORDER BY p.relay;

-- OutboxAge returns the edges of the outbox and how old its first and its last row are, zeros if it is
-- empty. A last row that is younger than nothing was written before the clock was set back.
-- name: OutboxAge :one
SELECT coalesce(min(o.id), 0)::bigint AS first_id, coalesce(max(o.id), 0)::bigint AS last_id,
  coalesce(extract(epoch FROM clock_timestamp() - (min(o.created_at) FILTER (WHERE o.edge = 1))), 0)::float8 AS first_seconds,
  coalesce(extract(epoch FROM clock_timestamp() - (max(o.created_at) FILTER (WHERE o.edge = 2))), 0)::float8 AS last_seconds
FROM ((SELECT id, created_at, 1 AS edge FROM outbox ORDER BY id LIMIT 1) UNION ALL (SELECT id, created_at, 2 FROM outbox ORDER BY id DESC LIMIT 1)) o;

-- ServiceSessions counts the processes of each service that are connected. sees_all: the login may see
-- what the sessions of others do, which a superuser or a member of pg_monitor may.
-- name: ServiceSessions :one
SELECT count(DISTINCT a.application_name) FILTER (WHERE pg_has_role(a.usesysid, to_regrole('wallet_api'), 'member')) AS apis,
  count(DISTINCT a.application_name) FILTER (WHERE pg_has_role(a.usesysid, to_regrole('wallet_relay'), 'member')) AS relays,
  count(DISTINCT a.application_name) FILTER (WHERE pg_has_role(a.usesysid, to_regrole('wallet_worker'), 'member')) AS workers,
  count(DISTINCT a.application_name) FILTER (WHERE pg_has_role(a.usesysid, to_regrole('wallet_hooks'), 'member')) AS hooks,
  (SELECT pg_has_role('pg_read_all_stats', 'usage'))::boolean AS sees_all
FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
WHERE a.datname = current_database() AND NOT r.rolsuper;

-- LockHolders lists the sessions whose locks accepting, publishing or applying may wait for: those that
-- have held one for so long, and those that others have waited for, for so long. It reads no table of
-- ours, and so answers whatever is locked. Transactions of the services end by their timeouts, so it is
-- mostly somebody's open console. A dump or a vacuum, whose locks disturb nobody, is not among them, nor is
-- a commit that waits for a standby: to end that session would show what no standby has. What a session of
-- another login does is hidden from who may not see it: its state is empty and its times 0.
-- name: LockHolders :many
WITH core AS (
  SELECT c.oid, c.relname FROM unnest('{wallets,wallet_sequences,operations,outcomes,open_holds,outbox,outbox_topics,relay_positions,relay_controls,parked_rows,api_keys,tenants,hook_endpoints,hook_requests,hook_states,hook_cursors,operator_actions,schema_migrations}'::text[]) t(name)
  JOIN pg_catalog.pg_class c ON c.oid = to_regclass(t.name)),
held AS MATERIALIZED (
  SELECT l.pid, array_agg(DISTINCT upper(regexp_replace(regexp_replace(l.mode, 'Lock$', ''), '([a-z])([A-Z])', '\1 \2', 'g')) || ' on ' || core.relname)::text[] AS tables
  FROM pg_catalog.pg_locks l JOIN core ON core.oid = l.relation
  WHERE l.granted AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
  GROUP BY l.pid),
waits AS MATERIALIZED (
  SELECT DISTINCT b.holder, w.pid, clock_timestamp() - w.since AS waited
  FROM (SELECT l.pid, min(l.waitstart) AS since FROM pg_catalog.pg_locks l WHERE NOT l.granted GROUP BY l.pid) w
  CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) b(holder)),
blocked AS MATERIALIZED (
  SELECT w.holder, max(w.waited) AS waited, array_agg(CASE
    WHEN r.rolsuper THEN a.usename::text
    WHEN pg_has_role(a.usesysid, to_regrole('wallet_api'), 'member') THEN 'api'
    WHEN pg_has_role(a.usesysid, to_regrole('wallet_relay'), 'member') THEN 'relay'
    WHEN pg_has_role(a.usesysid, to_regrole('wallet_worker'), 'member') THEN 'worker'
    ELSE a.usename::text END)::text[] AS who
  FROM waits w JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid GROUP BY w.holder)
SELECT a.pid::integer AS pid, coalesce(a.usename::text, a.backend_type, '')::text AS login, coalesce(a.application_name, '')::text AS application,
  coalesce(a.state, '')::text AS state, coalesce(a.xact_start, 'epoch')::timestamptz AS since,
  coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8 AS open_seconds,
  coalesce(h.tables, '{}')::text[] AS tables, coalesce(b.who, '{}')::text[] AS blocks
FROM pg_catalog.pg_stat_activity a
LEFT JOIN held h ON h.pid = a.pid LEFT JOIN blocked b ON b.holder = a.pid
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.wait_event IS DISTINCT FROM 'SyncRep'
  AND (h.pid IS NOT NULL AND a.backend_type = 'client backend' AND a.xact_start < clock_timestamp() - sqlc.arg(open_ms)::bigint * interval '1 ms'
    OR b.waited > sqlc.arg(blocks_ms)::bigint * interval '1 ms')
ORDER BY a.xact_start NULLS FIRST LIMIT 10;

-- Replication says which standbys commits wait for by the setting, which are connected, how many commits
-- wait right now, and for how long the first of them has.
-- name: Replication :one
SELECT current_setting('synchronous_standby_names')::text AS names,
  ARRAY(SELECT r.application_name FROM pg_catalog.pg_stat_replication r WHERE coalesce(r.state, 'streaming') = 'streaming' ORDER BY 1)::text[] AS connected,
  (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.wait_event = 'SyncRep') AS waiting,
  coalesce((SELECT extract(epoch FROM clock_timestamp() - min(a.state_change)) FROM pg_catalog.pg_stat_activity a WHERE a.wait_event = 'SyncRep'), 0)::float8 AS longest_seconds;

-- FindOperation returns pgx.ErrNoRows if there is no such operation. xid is that of the transaction
-- that accepted it, which wrote its outbox row too: the row's hidden xmin, with the epoch that makes
-- it a transaction of the past.
-- name: FindOperation :one
SELECT s.*, (x.xid - CASE WHEN x.xid >= x.next THEN 4294967296 ELSE 0 END)::text AS xid
FROM operation_states s
JOIN operations o ON o.id = s.id
CROSS JOIN LATERAL (
  SELECT n.next, ((n.next >> 32) << 32) + o.xmin::text::bigint AS xid
  FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) n) x
WHERE s.id = @id;

-- MessageOfOperation returns the outbox row of an operation in the operations' topic, by the transaction that wrote both;
-- pgx.ErrNoRows if it is deleted, or if the database was restored from a dump since.
-- name: MessageOfOperation :one
SELECT o.id, o.topic, o.created_at, coalesce((SELECT p.reason FROM parked_rows p WHERE p.outbox_id = o.id), '')::text AS parked_reason
FROM outbox o WHERE o.xid = (@xid::text)::xid8 AND o.topic = @topic AND o.key = @key AND position(convert_to(sqlc.arg(operation_id)::text, 'UTF8') IN o.payload) > 0
ORDER BY o.id LIMIT 1;

-- RelaysPast returns for each relay whether its saved position is past an outbox row of the operations' topic.
-- name: RelaysPast :many
SELECT p.relay, coalesce(pg_visible_in_snapshot(o.xid, p.prev)
  OR (o.id <= p.after_id AND pg_visible_in_snapshot(o.xid, p.cur)), false)::boolean AS past
FROM relay_positions p, outbox o WHERE o.id = @id AND p.relay NOT LIKE '%/events' ORDER BY p.relay;

-- FirstRowFrom returns the first outbox row from an id on, or pgx.ErrNoRows.
-- name: FirstRowFrom :one
SELECT id, created_at FROM outbox WHERE id >= sqlc.arg(id)::bigint ORDER BY id LIMIT 1;

-- ReplayRows writes the rows of a range of ids again, at the end of the outbox and in their order: those of a topic and
-- of a key, if they are not empty. A parked row would stop the relays again.
-- name: ReplayRows :execrows
INSERT INTO outbox (topic, key, payload, headers)
SELECT topic, key, payload, headers FROM outbox o
WHERE o.id > sqlc.arg(after)::bigint AND o.id <= sqlc.arg(up_to)::bigint AND o.created_at >= @since
  AND (sqlc.arg(topic)::text = '' OR o.topic = sqlc.arg(topic)::text) AND (sqlc.arg(key)::text = '' OR o.key = sqlc.arg(key)::text)
  AND NOT EXISTS (SELECT FROM parked_rows p WHERE p.outbox_id = o.id)
ORDER BY o.id;

-- Migrator returns the session that holds the lock migrate_lock, 0 if none does, and whether it is this
-- one: behind PgBouncer in transaction mode the next statement may be another's.
-- name: Migrator :one
SELECT coalesce(max(l.pid), 0)::integer AS pid, coalesce(max(l.pid) = pg_backend_pid(), false)::boolean AS mine
FROM pg_catalog.pg_locks l
WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = sqlc.arg(migrate_lock)::int AND l.objsubid = 2
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database());

-- MakeMigrationsTable makes the table that dbmate keeps, as dbmate does.
-- name: MakeMigrationsTable :exec
CREATE TABLE IF NOT EXISTS schema_migrations (version varchar PRIMARY KEY);

-- NoteMigration notes that a migration is applied.
-- name: NoteMigration :exec
INSERT INTO schema_migrations (version) VALUES (@version);

-- UnfinishedIndex reports whether there is such an index and CREATE INDEX CONCURRENTLY has not finished it, and
-- which session is still at work on it, 0 if none is.
-- name: UnfinishedIndex :one
SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indexrelid = to_regclass(sqlc.arg(name)::text) AND NOT i.indisvalid)::boolean AS unfinished,
  coalesce((SELECT max(p.pid) FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = to_regclass(sqlc.arg(name)::text)), 0)::integer AS builder;

-- Tablespaces lists those that the growing tables are in.
-- name: Tablespaces :many
SELECT DISTINCT t.spcname::text AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_database d ON d.datname = current_database()
JOIN pg_catalog.pg_tablespace t ON t.oid = coalesce(nullif(c.reltablespace, 0), d.dattablespace)
WHERE c.oid IN (SELECT to_regclass(n) FROM unnest('{wallets,operations,outcomes,outbox}'::text[]) n);
