-- HookEndpoints lists all endpoints, with what a process has to look at again.
-- name: HookEndpoints :many
SELECT e.id, e.updated_at, (t.disabled_at IS NOT NULL)::boolean AS tenant_disabled,
  coalesce((SELECT max(r.id) FROM hook_requests r WHERE r.endpoint_id = e.id), 0)::bigint AS last_request
FROM hook_endpoints e JOIN tenants t ON t.name = e.tenant ORDER BY e.id;

-- HookEndpoint returns pgx.ErrNoRows if the endpoint was deleted.
-- name: HookEndpoint :one
SELECT * FROM hook_endpoints WHERE id = @id;

-- TryHookLocks takes the locks of endpoints that no other process has, for as long as the session lives.
-- name: TryHookLocks :many
SELECT t.id::uuid AS id FROM (SELECT unnest(@ids::uuid[]) AS id OFFSET 0) t WHERE pg_try_advisory_lock(@lock::integer, hashtext(t.id::text));

-- Unlock gives back a lock of TryLock's or TryHookLocks'.
-- name: Unlock :one
SELECT pg_advisory_unlock(@lock::integer, hashtext(@name::text))::boolean;

-- JoinHookProcesses counts this session among the processes that share the endpoints, for as long as it lives.
-- name: JoinHookProcesses :one
SELECT pg_try_advisory_lock_shared(@lock::integer, 0)::boolean;

-- CountHookProcesses counts the processes that share the endpoints.
-- name: CountHookProcesses :one
SELECT count(*) FROM pg_catalog.pg_locks
WHERE locktype = 'advisory' AND classid = (@lock::integer)::oid AND granted
  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database());

-- TakeHook raises the term of an endpoint: what its last owner writes from now on is refused. It returns
-- pgx.ErrNoRows if the endpoint was deleted.
-- name: TakeHook :one
INSERT INTO hook_states (endpoint_id, term, since)
SELECT id, 1, created_at FROM hook_endpoints WHERE id = @id
ON CONFLICT (endpoint_id) DO UPDATE SET term = hook_states.term + 1
RETURNING *;

-- HookCursors are those of an endpoint.
-- name: HookCursors :many
SELECT partition, next_offset, finished, updated_at FROM hook_cursors WHERE endpoint_id = @id;

-- HookRequests lists what an endpoint's owner has not done yet.
-- name: HookRequests :many
SELECT id, kind, since, run FROM hook_requests WHERE endpoint_id = @endpoint_id AND id > @after ORDER BY id LIMIT 100;

-- PruneHookRequests deletes requests that were done and are a day old, some at a time. Nobody reads them any more.
-- name: PruneHookRequests :execrows
DELETE FROM hook_requests WHERE id IN (
  SELECT r.id FROM hook_requests r JOIN hook_states s ON s.endpoint_id = r.endpoint_id
  WHERE r.id <= s.last_request AND r.created_at < now() - interval '1 day' ORDER BY r.id LIMIT @max_rows);

-- BeginHookCursors makes the cursors of partitions that an endpoint has not had. It comes before SaveHookStates in
-- its transaction: it locks the endpoint, as DELETE does before it locks the state.
-- name: BeginHookCursors :exec
INSERT INTO hook_cursors (endpoint_id, partition, term, next_offset)
SELECT n.endpoint_id, n.partition, n.term, n.next_offset FROM (
  SELECT unnest(@endpoint_ids::uuid[]) AS endpoint_id, unnest(@partitions::integer[]) AS partition,
    unnest(@terms::bigint[]) AS term, unnest(@next_offsets::bigint[]) AS next_offset) n
JOIN hook_states s ON s.endpoint_id = n.endpoint_id AND s.term = n.term
ON CONFLICT (endpoint_id, partition) DO NOTHING;

-- SaveHookStates writes the states of endpoints whose term is still the writer's, locks them, and returns which these
-- are. A zero time is none; an empty list of attempts leaves those there.
-- name: SaveHookStates :many
UPDATE hook_states s SET
  term = n.next_term, last_request = n.last_request, since = n.since, failures = n.failures,
  disabled_at = nullif(n.disabled_at, '0001-01-01 00:00:00+00'), reason = nullif(n.reason, ''),
  failing_since = nullif(n.failing_since, '0001-01-01 00:00:00+00'), next_attempt = nullif(n.next_attempt, '0001-01-01 00:00:00+00'),
  last_error = nullif(n.last_error, ''), lag_messages = n.lag_messages, lag_seconds = n.lag_seconds,
  attempts = coalesce(nullif(n.attempts, '')::jsonb, s.attempts), stalled = n.stalled::jsonb, skipped = n.skipped::jsonb, missed = n.missed::jsonb,
  log_begins = coalesce(nullif(n.log_begins, '0001-01-01 00:00:00+00'), s.log_begins),
  updated_at = clock_timestamp()
FROM (SELECT unnest(@endpoint_ids::uuid[]) AS endpoint_id, unnest(@terms::bigint[]) AS term, unnest(@next_terms::bigint[]) AS next_term,
    unnest(@last_requests::bigint[]) AS last_request, unnest(@sinces::timestamptz[]) AS since, unnest(@failures::integer[]) AS failures,
    unnest(@disabled_ats::timestamptz[]) AS disabled_at, unnest(@reasons::text[]) AS reason,
    unnest(@failing_sinces::timestamptz[]) AS failing_since, unnest(@next_attempts::timestamptz[]) AS next_attempt,
    unnest(@last_errors::text[]) AS last_error, unnest(@lag_messages::bigint[]) AS lag_messages, unnest(@lag_seconds::float8[]) AS lag_seconds,
    unnest(@attempts::text[]) AS attempts, unnest(@stalled::text[]) AS stalled, unnest(@skipped::text[]) AS skipped, unnest(@missed::text[]) AS missed,
    unnest(@logs_begin::timestamptz[]) AS log_begins) n
WHERE s.endpoint_id = n.endpoint_id AND s.term = n.term
RETURNING s.endpoint_id;

-- SaveHookCursors writes the cursors of endpoints whose term is the writer's: after SaveHookStates, which holds the
-- states' locks.
-- name: SaveHookCursors :exec
UPDATE hook_cursors c SET term = n.term, next_offset = n.next_offset, finished = n.finished, updated_at = clock_timestamp()
FROM (SELECT unnest(@endpoint_ids::uuid[]) AS endpoint_id, unnest(@partitions::integer[]) AS partition, unnest(@terms::bigint[]) AS term,
    unnest(@next_offsets::bigint[]) AS next_offset, unnest(@finished::bytea[]) AS finished) n
JOIN hook_states s ON s.endpoint_id = n.endpoint_id AND s.term = n.term
WHERE c.endpoint_id = n.endpoint_id AND c.partition = n.partition AND c.term <= n.term;
