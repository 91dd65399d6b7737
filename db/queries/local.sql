-- AppliedSequences is how far wallets are applied, as anyone sees it.
-- name: AppliedSequences :many
SELECT id, applied_seq FROM wallets WHERE id = ANY (@ids::uuid[]);

-- Totals adds up, over some wallets, or over all if they are none, and in one snapshot, what has to be equal when nothing is
-- pending. processed is what the wallets' own operations come to; outside is what came in and went out, without
-- what wallets have given to each other: these must be among them. expiring counts the open holds that will expire
-- within some seconds: until then nothing is quiet.
-- name: Totals :one
WITH these AS MATERIALIZED (
  SELECT s.seq, s.status, coalesce(s.applied_amount, s.amount) AS amount, s.counterpart_id IS NOT NULL AS moved, s.type,
         CASE WHEN s.type IN ('DEPOSIT', 'RECEIVE', 'RETURN') THEN 1
              WHEN s.type IN ('WITHDRAW', 'TRANSFER', 'CAPTURE') THEN -1
              WHEN s.type = 'REVERSE' THEN CASE WHEN (SELECT o.type FROM operations o WHERE o.id = s.subject_id) = 'DEPOSIT' THEN -1 ELSE 1 END
              ELSE 0 END AS sign
  FROM operation_states s WHERE coalesce(cardinality(@wallets::uuid[]), 0) = 0 OR s.wallet_id = ANY (@wallets::uuid[]))
SELECT (SELECT count(*) FROM these) AS operations,
       (SELECT count(*) FROM outcomes c WHERE coalesce(cardinality(@wallets::uuid[]), 0) = 0 OR c.wallet_id = ANY (@wallets::uuid[])) AS outcomes,
       (SELECT coalesce(sum(q.last_seq), 0) FROM wallet_sequences q WHERE coalesce(cardinality(@wallets::uuid[]), 0) = 0 OR q.wallet_id = ANY (@wallets::uuid[]))::bigint AS last_seq,
       (SELECT coalesce(sum(w.applied_seq), 0) FROM wallets w WHERE coalesce(cardinality(@wallets::uuid[]), 0) = 0 OR w.id = ANY (@wallets::uuid[]))::bigint AS applied_seq,
       (SELECT coalesce(sum(w.balance), 0) FROM wallets w WHERE coalesce(cardinality(@wallets::uuid[]), 0) = 0 OR w.id = ANY (@wallets::uuid[]))::bigint AS balance,
       (SELECT coalesce(sum(sign * amount), 0) FROM these WHERE status = 'PROCESSED')::bigint AS processed,
       (SELECT coalesce(sum(sign * amount), 0) FROM these WHERE status = 'PROCESSED' AND NOT moved)::bigint AS outside,
       (SELECT count(*) FROM these WHERE status = 'FAILED') AS failed,
       (SELECT count(*) FROM open_holds h WHERE h.expires_at < now() + interval '10 s'
        AND (coalesce(cardinality(@wallets::uuid[]), 0) = 0 OR h.wallet_id = ANY (@wallets::uuid[]))) AS expiring;

-- StoredOperations returns every operation of some wallets, or of all if they are none, but not those of some others, to
-- compare it with what clients sent. It reads all of them at once: a demonstration's or a test's.
-- name: StoredOperations :many
SELECT wallet_id, seq, id, type, amount, created_at, applied_at, subject_id, counterpart_id, expires_at, final,
       status, coalesce(applied_amount, amount)::bigint AS came_to
FROM operation_states
WHERE (coalesce(cardinality(@wallets::uuid[]), 0) = 0 OR wallet_id = ANY (@wallets::uuid[]))
  AND wallet_id <> ALL (coalesce(@without::uuid[], '{}')) ORDER BY wallet_id, seq;

-- FinishedOperations returns every finished operation of some wallets, or of all if they are none, but not those of some
-- others, with what an event says of their wallet. It reads all of them at once: a demonstration's or a test's.
-- name: FinishedOperations :many
SELECT sqlc.embed(operation_states), w.currency, w.tenant
FROM operation_states JOIN wallets w ON w.id = operation_states.wallet_id
WHERE operation_states.applied_at IS NOT NULL
  AND (coalesce(cardinality(@wallets::uuid[]), 0) = 0 OR operation_states.wallet_id = ANY (@wallets::uuid[]))
  AND operation_states.wallet_id <> ALL (coalesce(@without::uuid[], '{}')) ORDER BY operation_states.wallet_id, operation_states.seq;
