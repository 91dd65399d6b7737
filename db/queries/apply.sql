-- LockWallets locks in id order so that two workers can never deadlock. NO KEY is enough: no key is
-- changed.
-- name: LockWallets :many
SELECT * FROM wallets WHERE id = ANY (@ids::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- PendingOperations returns, in order, what the wallets have accepted up to their sequence in
-- up_to and not applied yet. It must be a later statement than LockWallets: a statement that waited for
-- a lock keeps the snapshot it began with, and would read an applied_seq that has moved since. Metadata
-- is null unless it is asked for: no rule depends on it.
-- name: PendingOperations :many
SELECT o.wallet_id, o.seq, o.id, o.type, o.amount, o.reference, o.created_at, o.subject_id, o.counterpart_id, o.expires_at, o.final,
       (CASE WHEN sqlc.arg(with_metadata)::boolean THEN o.metadata END)::jsonb AS metadata
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@up_to::bigint[]) AS seq) t
JOIN wallets w ON w.id = t.id
CROSS JOIN LATERAL (
  SELECT * FROM operations p
  WHERE p.wallet_id = t.id AND p.seq > w.applied_seq AND p.seq <= t.seq
  ORDER BY p.seq LIMIT sqlc.arg(max_rows)::bigint) o
ORDER BY o.wallet_id, o.seq LIMIT sqlc.arg(max_rows)::bigint;

-- PlanForSubjects makes Postgres plan Subjects without sorts and bitmaps. It takes an index's few first rows for few
-- rows in all, and would read and sort every try of a client that has tried a hundred thousand times.
-- name: PlanForSubjects :exec
SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true);

-- PlanAsUsual ends PlanForSubjects.
-- name: PlanAsUsual :exec
SELECT set_config('enable_sort', 'on', true), set_config('enable_bitmapscan', 'on', true);

-- Subjects returns those of the operations that have been applied, each with what is left of it and how many
-- operations have named it, of which no more than max_named are counted. What is left is what the last applied
-- operation that names it has left, or all of it: one look into the index, however often a client tried,
-- between PlanForSubjects and PlanAsUsual.
-- expire_ids are the ids that their EXPIREs have. Like the next one it must be a later statement than LockWallets.
-- name: Subjects :many
SELECT s.wallet_id, s.id, s.seq, s.type, s.counterpart_id, s.expires_at,
       (CASE WHEN c.status = 'FAILED' THEN 0 ELSE coalesce(
         (SELECT n.subject_left FROM operations p JOIN outcomes n ON n.wallet_id = p.wallet_id AND n.seq = p.seq
          WHERE p.subject_id = s.id AND p.wallet_id = s.wallet_id AND p.seq <= w.applied_seq ORDER BY p.seq DESC LIMIT 1),
         c.applied_amount, s.amount) END)::bigint AS left_over,
       (SELECT count(*) FROM (
          SELECT FROM operations p WHERE p.subject_id = s.id AND p.seq <= w.applied_seq ORDER BY p.seq LIMIT sqlc.arg(max_named)::bigint) n)::bigint AS named,
       EXISTS (SELECT FROM operations e JOIN outcomes n ON n.wallet_id = e.wallet_id AND n.seq = e.seq
               WHERE e.id = t.expire_id AND n.status = 'PROCESSED')::boolean AS expired
FROM (SELECT unnest(@wallet_ids::uuid[]) AS wallet_id, unnest(@ids::uuid[]) AS id, unnest(@expire_ids::uuid[]) AS expire_id) t
JOIN operations s ON s.id = t.id AND s.wallet_id = t.wallet_id
JOIN outcomes c ON c.wallet_id = s.wallet_id AND c.seq = s.seq
JOIN wallets w ON w.id = s.wallet_id;

-- CountOpenHolds counts up to max_holds of each wallet.
-- name: CountOpenHolds :many
SELECT t.id::uuid AS id,
       (SELECT count(*) FROM (SELECT FROM open_holds h WHERE h.wallet_id = t.id LIMIT sqlc.arg(max_holds)::bigint) n)::bigint AS holds
FROM (SELECT unnest(@ids::uuid[]) AS id) t;

-- InsertOutcomes fails with a unique violation if one of the operations has an outcome already. applied_at is what
-- ReadClock has said after LockWallets, so that it follows the sequence: the default, now(), is the transaction's
-- begin, and the second to lock a wallet may have begun first. The last four of the arrays say what
-- plain deposits and withdrawals of active wallets do not need, and are empty then: unnest fills up with nulls.
-- Applied amounts and what is left are -1 where they say nothing.
-- name: InsertOutcomes :exec
INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, applied_at, held_after, state_after, applied_amount, subject_left)
SELECT unnest(@wallet_ids::uuid[]), unnest(@seqs::bigint[]), unnest((@statuses::text[])::outcome_status[]),
       nullif(unnest(@failure_reasons::text[]), ''), unnest(@balances_after::bigint[]),
       @applied_at::timestamptz,
       nullif(unnest(@helds_after::bigint[]), 0), nullif(unnest((@states_after::text[])::wallet_state[]), 'ACTIVE'),
       nullif(unnest(@applied_amounts::bigint[]), -1), nullif(unnest(@subjects_left::bigint[]), -1);

-- AdvanceWallets moves wallets forward only, and returns how many it moved. Without helds and states nothing is
-- held, and all are active. It says with rules_seq that held and state were respected.
-- name: AdvanceWallets :execrows
UPDATE wallets w SET balance = a.balance, applied_seq = a.applied_seq, rules_seq = a.applied_seq,
       held = coalesce(a.held, 0), state = coalesce(a.state, 'ACTIVE')
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@balances::bigint[]) AS balance, unnest(@applied_seqs::bigint[]) AS applied_seq,
             unnest(@helds::bigint[]) AS held, unnest((@states::text[])::wallet_state[]) AS state) a
WHERE w.id = a.id AND w.applied_seq < a.applied_seq;

-- InsertOpenHolds writes the holds that are open after a transaction, and were not before. Without a time they
-- have Go's zero time.
-- name: InsertOpenHolds :exec
INSERT INTO open_holds (wallet_id, seq, hold_id, expires_at)
SELECT unnest(@wallet_ids::uuid[]), unnest(@seqs::bigint[]), unnest(@hold_ids::uuid[]), nullif(unnest(@expires_ats::timestamptz[]), '0001-01-01 00:00:00+00');

-- DeleteOpenHolds takes out those that a transaction has closed.
-- name: DeleteOpenHolds :exec
DELETE FROM open_holds h USING (SELECT unnest(@wallet_ids::uuid[]) AS wallet_id, unnest(@seqs::bigint[]) AS seq) c
WHERE h.wallet_id = c.wallet_id AND h.seq = c.seq;

-- InsertEvents tells of a transaction's outcomes, in the transaction itself: so no event is lost, and none tells of what
-- has not happened. Ids are taken under the wallets' locks and in the order of the arrays, so that a wallet's events have
-- the order of its sequences. There is no ORDER BY as in InsertOutbox: rows of this size would be sorted on disk. The
-- payloads come one after the other, each with where it starts, from 1 on, and its length.
-- name: InsertEvents :execrows
INSERT INTO outbox (topic, key, payload, headers)
SELECT @topic::text, unnest(@keys::text[]), substring(@payloads::bytea FROM unnest(@starts::int[]) FOR unnest(@lengths::int[])),
       unnest(@headers::text[]);

-- TopicIsRegistered says whether the relay knows a topic. It stops at a row of any other.
-- name: TopicIsRegistered :one
SELECT EXISTS (SELECT FROM outbox_topics WHERE topic = @topic::text)::boolean AS registered;

-- LockFollowing locks the wallets in which the worker is going to accept something, in id order.
--
-- No cycle of locks exists. A worker's transaction locks its wallets' rows of wallets first, in id order, and then
-- these rows of wallet_sequences, in id order, as its last locks: whoever holds one of these waits for no row of
-- wallets any more. An acceptance, the api's or that of an EXPIRE, locks rows of wallet_sequences alone, in id order.
-- The inserts that follow wait for nobody: what is inserted has its id from its cause, whose wallet is locked.
-- name: LockFollowing :many
SELECT * FROM wallet_sequences WHERE wallet_id = ANY (@wallet_ids::uuid[]) ORDER BY wallet_id FOR UPDATE;

-- LockFreeFollowing skips wallets that another transaction has locked, and returns the others.
-- name: LockFreeFollowing :many
SELECT * FROM wallet_sequences WHERE wallet_id = ANY (@wallet_ids::uuid[]) ORDER BY wallet_id FOR UPDATE SKIP LOCKED;

-- LockFreeWallets locks the wallets that nobody has locked.
-- name: LockFreeWallets :many
SELECT id FROM wallets WHERE id = ANY (@ids::uuid[]) FOR NO KEY UPDATE SKIP LOCKED;

-- AcceptedBefore returns those of the operations that exist. It must be a later statement than the lock: a
-- statement that waited for a lock keeps the snapshot it began with.
-- name: AcceptedBefore :many
SELECT wallet_id, seq, id FROM operations WHERE id = ANY (@ids::uuid[]);

-- AcceptFollowing accepts what the worker may: RECEIVE, RETURN and EXPIRE. It must be a later statement than
-- LockFollowing, so that it sees last_seq, and reads the clock, after the wait. Times are those of the api: not before the
-- wallet's last one, unless that is more than 5 s ahead of the clock, which was set back then; times_back counts the
-- wallets in which that was so. A row whose wallet does not exist has no sequence, and fails with a not-null violation;
-- one whose id exists with a unique violation: nothing may be committed then, and nothing may be left out, for its
-- sequence would be missing for ever. Before not_before, which may be any time of the past, it fails likewise. The payload is
-- db/event's; a nil UUID and an empty reference are none.
-- name: AcceptFollowing :one
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
following AS (
  SELECT f.n, f.wallet_id, s.last_seq + row_number() OVER (PARTITION BY f.wallet_id ORDER BY f.n) AS seq,
         f.id, f.type::operation_type AS type, f.amount, nullif(f.reference, '') AS reference, f.subject_id,
         nullif(f.counterpart_id, '00000000-0000-0000-0000-000000000000') AS counterpart_id,
         CASE WHEN c.now < @not_before::timestamptz THEN NULL
              WHEN s.last_at <= c.now + interval '5 seconds' THEN greatest(s.last_at, c.now) ELSE c.now END AS created_at,
         coalesce(s.last_at > c.now + interval '5 seconds', false) AS goes_back
  FROM clock c
  CROSS JOIN ROWS FROM (unnest(@wallet_ids::uuid[]), unnest(@ids::uuid[]), unnest(@types::text[]), unnest(@amounts::bigint[]),
    unnest(@refs::text[]), unnest(@subject_ids::uuid[]), unnest(@counterpart_ids::uuid[]))
    WITH ORDINALITY AS f (wallet_id, id, type, amount, reference, subject_id, counterpart_id, n)
  LEFT JOIN wallet_sequences s ON s.wallet_id = f.wallet_id
), accepted AS (
  INSERT INTO operations (wallet_id, seq, id, type, amount, reference, created_at, subject_id, counterpart_id)
  SELECT wallet_id, seq, id, type, amount, reference, created_at, subject_id, counterpart_id FROM following
  RETURNING wallet_id, seq, id, type, amount, created_at
), announced AS (
  INSERT INTO outbox (topic, headers, key, payload)
  SELECT @topic::text, @headers::text, wallet_id::text, convert_to(
    '{"walletId":"' || wallet_id || '","sequence":' || seq || ',"operationId":"' || id || '","type":"' || type || '","amount":' || amount
    || ',"acceptedAt":"' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}', 'UTF8')
  FROM accepted ORDER BY wallet_id, seq
), advanced AS (
  UPDATE wallet_sequences s SET last_seq = a.last_seq, last_at = a.last_at
  FROM (SELECT wallet_id, max(seq) AS last_seq, max(created_at) AS last_at FROM accepted GROUP BY wallet_id) a
  WHERE s.wallet_id = a.wallet_id
)
SELECT count(DISTINCT wallet_id) FILTER (WHERE goes_back) AS times_back FROM following;

-- ExpiredHolds returns the next open holds whose time is over, in the order of that time.
-- name: ExpiredHolds :many
SELECT wallet_id, seq, hold_id, expires_at::timestamptz AS expires_at FROM open_holds
WHERE expires_at <= now() AND (expires_at, wallet_id, seq) > (sqlc.arg(after_time)::timestamptz, sqlc.arg(after_wallet)::uuid, sqlc.arg(after_seq)::bigint)
ORDER BY expires_at, wallet_id, seq LIMIT sqlc.arg(max_rows)::bigint;

-- LastSequences returns the last accepted sequence of wallets.
-- name: LastSequences :many
SELECT wallet_id, last_seq FROM wallet_sequences WHERE wallet_id = ANY (@wallet_ids::uuid[]);
