-- name: Begin :exec
BEGIN;

-- name: Commit :exec
COMMIT;

-- name: Rollback :exec
ROLLBACK;

-- Confirm makes the COMMIT of its transaction wait for the synchronous standbys, as the COMMIT of any
-- transaction that writes does. Once it has returned, what was visible before is on the standbys too. It
-- writes to the log and nowhere else, and without synchronous standbys not even there.
-- name: Confirm :exec
SELECT pg_logical_emit_message(true, 'wallet', '') WHERE current_setting('synchronous_standby_names') <> '';

-- CommitSynchronously makes the COMMIT of its transaction wait where those of the session do not.
-- name: CommitSynchronously :exec
SELECT set_config('synchronous_commit', 'on', true);

-- TryLock takes an advisory lock for as long as the session lives, or reports false.
-- name: TryLock :one
SELECT pg_try_advisory_lock(@lock::int, hashtext(@name::text))::boolean AS held;

-- ServerStarted distinguishes servers, and restarts of one server.
-- name: ServerStarted :one
SELECT pg_postmaster_start_time()::timestamptz AS server_started;

-- Standbys says which server this is, which standbys its commits wait for, and which of some backends of
-- the same login are there, and wait for standbys right now.
-- name: Standbys :one
SELECT pg_postmaster_start_time()::timestamptz AS server_started,
       current_setting('synchronous_standby_names')::text AS names,
       ARRAY(SELECT a.pid FROM pg_catalog.pg_stat_activity a WHERE a.pid = ANY (@pids::int[]))::int[] AS alive,
       ARRAY(SELECT a.pid FROM pg_catalog.pg_stat_activity a WHERE a.pid = ANY (@pids::int[]) AND a.wait_event = 'SyncRep')::int[] AS waiting;

-- SettleSession gives a session its settings once more, and returns its backend. A pooler may have left them out of
-- the start of the connection (ignore_startup_parameters), and names a backend that is none.
-- name: SettleSession :one
SELECT pg_backend_pid()::int AS pid, count(set_config(name, value, false)) AS settings
FROM (SELECT unnest(@names::text[]) AS name, unnest(@values::text[]) AS value) AS given;
