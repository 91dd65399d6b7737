-- LookUpByIndex is what db.PlanByIndex says, for one transaction.
-- name: LookUpByIndex :exec
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);

-- AuditWallets returns a page of the wallets from one id up to another, in order, each with its last accepted sequence and the tenant
-- that its acceptance goes by; -1 and none if its row of wallet_sequences is missing.
-- name: AuditWallets :many
SELECT w.id, w.currency, w.tenant, w.balance, w.held, w.state::text AS state, w.applied_seq, w.rules_seq,
       coalesce(s.last_seq, -1)::bigint AS last_seq, coalesce(s.tenant, '')::text AS sequence_tenant
FROM wallets w LEFT JOIN wallet_sequences s ON s.wallet_id = w.id
WHERE w.id >= sqlc.arg(from_id) AND w.id <= sqlc.arg(up_to) ORDER BY w.id LIMIT sqlc.arg(max_rows);

-- AuditOrphans returns up to max_rows wallets in a range of ids that have a row of wallet_sequences, and neither a row of wallets
-- nor an operation. LIMIT keeps the planner from reading all wallets.
-- name: AuditOrphans :many
SELECT s.wallet_id, s.last_seq FROM wallet_sequences s
LEFT JOIN LATERAL (SELECT true AS found FROM wallets w WHERE w.id = s.wallet_id LIMIT 1) w ON true
LEFT JOIN LATERAL (SELECT true AS found FROM operations o WHERE o.wallet_id = s.wallet_id LIMIT 1) o ON true
WHERE s.wallet_id >= sqlc.arg(from_id) AND s.wallet_id <= sqlc.arg(up_to) AND w.found IS NULL AND o.found IS NULL
ORDER BY s.wallet_id LIMIT sqlc.arg(max_rows);

-- AuditOperations returns a page of operations and outcomes by wallet and sequence, joined where
-- both exist; the type or the status is empty, and the time is the epoch, where a side is missing. age_seconds is how long ago the
-- operation was accepted, by the database's clock alone. Each side is cut to the page first, so that a
-- page costs the same however much follows.
-- name: AuditOperations :many
SELECT coalesce(o.wallet_id, c.wallet_id)::uuid AS wallet_id, coalesce(o.seq, c.seq)::bigint AS seq,
       coalesce(o.id, '00000000-0000-0000-0000-000000000000')::uuid AS id,
       coalesce(o.type::text, '')::text AS type, coalesce(o.amount, 0)::bigint AS amount,
       o.subject_id, o.counterpart_id, o.expires_at, coalesce(o.final, true)::boolean AS final,
       coalesce(extract(epoch FROM now() - o.created_at), 0)::float8 AS age_seconds,
       coalesce(o.created_at, 'epoch')::timestamptz AS created_at, coalesce(c.applied_at, 'epoch')::timestamptz AS applied_at,
       coalesce(c.status::text, '')::text AS status, coalesce(c.failure_reason, '')::text AS failure_reason,
       coalesce(c.balance_after, 0)::bigint AS balance_after, coalesce(c.held_after, 0)::bigint AS held_after,
       coalesce(c.state_after::text, 'ACTIVE')::text AS state_after, c.applied_amount, c.subject_left
FROM (SELECT * FROM operations p
      WHERE (p.wallet_id, p.seq) > (sqlc.arg(after_wallet)::uuid, sqlc.arg(after_seq)::bigint) AND p.wallet_id <= sqlc.arg(up_to)::uuid
      ORDER BY p.wallet_id, p.seq LIMIT sqlc.arg(max_rows)::bigint) o
FULL JOIN (SELECT * FROM outcomes q
      WHERE (q.wallet_id, q.seq) > (sqlc.arg(after_wallet)::uuid, sqlc.arg(after_seq)::bigint) AND q.wallet_id <= sqlc.arg(up_to)::uuid
      ORDER BY q.wallet_id, q.seq LIMIT sqlc.arg(max_rows)::bigint) c
  ON c.wallet_id = o.wallet_id AND c.seq = o.seq
ORDER BY 1, 2 LIMIT sqlc.arg(max_rows)::bigint;

-- AuditLinked returns those of some operations that exist, each with what became of it, what it came to, and its
-- wallet's currency and tenant. The subselects keep the planner from reading all outcomes and wallets.
-- name: AuditLinked :many
SELECT o.id, o.wallet_id, o.seq, o.type::text AS type, o.subject_id, o.counterpart_id, o.expires_at,
       coalesce((SELECT c.status::text FROM outcomes c WHERE c.wallet_id = o.wallet_id AND c.seq = o.seq LIMIT 1), '')::text AS status,
       coalesce((SELECT c.applied_amount FROM outcomes c WHERE c.wallet_id = o.wallet_id AND c.seq = o.seq LIMIT 1), o.amount)::bigint AS came_to,
       coalesce((SELECT w.currency || ' of tenant ' || w.tenant FROM wallets w WHERE w.id = o.wallet_id), '')::text AS realm
FROM operations o WHERE o.id = ANY (@ids::uuid[]);

-- AuditReversed says of operations that name an original how many came before, counted up to max_named, and what
-- the last of them said is left of it: -1 if it said nothing, or none came. It does not name the wallet, or the planner could
-- go back through all of a wallet's operations instead of by the index of what is referred to.
-- name: AuditReversed :many
SELECT t.wallet_id::uuid AS wallet_id, t.seq::bigint AS seq,
       coalesce((SELECT (SELECT c.subject_left FROM outcomes c WHERE c.wallet_id = p.wallet_id AND c.seq = p.seq LIMIT 1)
        FROM operations p WHERE p.subject_id = t.subject_id AND p.seq < t.seq
        ORDER BY p.seq DESC LIMIT 1), -1)::bigint AS subject_left,
       (SELECT count(*) FROM (SELECT FROM operations p WHERE p.subject_id = t.subject_id AND p.seq < t.seq
        ORDER BY p.seq LIMIT sqlc.arg(max_named)::bigint) n) AS named
FROM (SELECT unnest(@wallet_ids::uuid[]) AS wallet_id, unnest(@seqs::bigint[]) AS seq, unnest(@subject_ids::uuid[]) AS subject_id) t;

-- AuditOpenHolds returns a page of the open holds by wallet and sequence, each with how long ago it should have
-- expired: less than nothing if that is to come, or never.
-- name: AuditOpenHolds :many
SELECT wallet_id, seq, hold_id, expires_at, coalesce(extract(epoch FROM now() - expires_at), -1)::float8 AS late_seconds
FROM open_holds
WHERE (wallet_id, seq) > (sqlc.arg(after_wallet)::uuid, sqlc.arg(after_seq)::bigint) AND wallet_id <= sqlc.arg(up_to)::uuid
ORDER BY wallet_id, seq LIMIT sqlc.arg(max_rows)::bigint;

-- SumSequences adds up two counters of all wallets, which only grow: as long as the sums are the same nothing was
-- accepted, and nothing applied.
-- name: SumSequences :one
SELECT (SELECT coalesce(sum(last_seq), 0) FROM wallet_sequences)::bigint AS last_seq,
       (SELECT coalesce(sum(applied_seq), 0) FROM wallets)::bigint AS applied_seq;

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

-- AuditEvents returns a topic's outbox rows in a range of ids with all that they say, those of one key if it is not empty.
-- name: AuditEvents :many
SELECT id, key, payload, headers, created_at FROM outbox
WHERE id > sqlc.arg(after) AND id <= sqlc.arg(up_to) AND topic = @topic AND (sqlc.arg(only_key)::text = '' OR key = sqlc.arg(only_key)::text)
ORDER BY id;

-- AuditRuns returns the operations that some runs tell of as they are stored, each with the wallet's currency and tenant, by run
-- and sequence. Operations that are pending are among them. Without LookUpByIndex, and without the LIMIT, which keeps
-- operations from being joined through their wallet's row, each run is compared with every operation of its wallet.
-- name: AuditRuns :many
SELECT r.run::bigint AS run, sqlc.embed(operation_states), w.currency, w.tenant
FROM (SELECT unnest(@runs::bigint[]) AS run, unnest(@wallet_ids::uuid[]) AS wallet_id,
             unnest(@from_seqs::bigint[]) AS from_seq, unnest(@versions::bigint[]) AS version) r
JOIN operation_states ON operation_states.wallet_id = r.wallet_id AND operation_states.seq BETWEEN r.from_seq AND r.version
CROSS JOIN LATERAL (SELECT currency, tenant FROM wallets WHERE wallets.id = r.wallet_id LIMIT 1) w
ORDER BY r.run, operation_states.seq;

-- AuditUntold counts the outcomes of a wallet between two sequences whose outbox rows have to be kept: all of them, if the
-- row before them is kept, which is no copy; else those that were written later than the outbox's first row, by more than
-- the order of ids may stray from that of times.
-- name: AuditUntold :one
SELECT count(*) FROM outcomes
WHERE wallet_id = @wallet_id AND seq > sqlc.arg(after_seq) AND seq < sqlc.arg(before_seq)
  AND (NOT sqlc.arg(copied)::boolean AND EXISTS (SELECT FROM outbox b WHERE b.id = sqlc.arg(after_row))
    OR applied_at > (SELECT o.created_at FROM outbox o ORDER BY o.id LIMIT 1) + interval '30 s');
