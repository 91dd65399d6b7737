-- Here, as in accept.sql, a query that has a tenant finds the wallets that the tenant has: another's is as if it did
-- not exist. The tenant * has all.

-- ReadWallet returns pgx.ErrNoRows if the tenant has no such wallet. Its metadata, as in the lists below, is a subquery and
-- no join: whatever the planner knows, it is one look at an index for each wallet of the answer.
-- name: ReadWallet :one
SELECT sqlc.embed(w), (SELECT m.metadata FROM wallet_metadata m WHERE m.wallet_id = w.id) AS metadata
FROM wallets w WHERE w.id = @id AND @tenant::text IN (w.tenant, '*');

-- WalletNow is ReadWallet with the wallet's last sequence and the database's clock.
-- name: WalletNow :one
SELECT sqlc.embed(w), (SELECT m.metadata FROM wallet_metadata m WHERE m.wallet_id = w.id) AS metadata,
       s.last_seq, clock_timestamp()::timestamptz AS clock
FROM wallets w JOIN wallet_sequences s ON s.wallet_id = w.id WHERE w.id = @id AND @tenant::text IN (w.tenant, '*');

-- ListWallets returns a page of all wallets, in id order.
-- name: ListWallets :many
SELECT sqlc.embed(w), (SELECT m.metadata FROM wallet_metadata m WHERE m.wallet_id = w.id) AS metadata
FROM wallets w WHERE w.id > @after ORDER BY w.id LIMIT sqlc.arg(max_rows)::int;

-- ListWalletsByReference returns a page of the wallets with a reference, in id order.
-- name: ListWalletsByReference :many
SELECT sqlc.embed(w), (SELECT m.metadata FROM wallet_metadata m WHERE m.wallet_id = w.id) AS metadata
FROM wallets w WHERE w.reference = @reference::text AND w.id > @after ORDER BY w.id LIMIT sqlc.arg(max_rows)::int;

-- ListTenantWallets returns a page of a tenant's wallets, in id order.
-- name: ListTenantWallets :many
SELECT sqlc.embed(w), (SELECT m.metadata FROM wallet_metadata m WHERE m.wallet_id = w.id) AS metadata
FROM wallets w WHERE w.tenant = @tenant::text AND w.id > @after ORDER BY w.id LIMIT sqlc.arg(max_rows)::int;

-- ListTenantWalletsByReference returns a page of a tenant's wallets with a reference, in id order.
-- name: ListTenantWalletsByReference :many
SELECT sqlc.embed(w), (SELECT m.metadata FROM wallet_metadata m WHERE m.wallet_id = w.id) AS metadata
FROM wallets w WHERE w.tenant = @tenant::text AND w.reference = @reference::text AND w.id > @after ORDER BY w.id LIMIT sqlc.arg(max_rows)::int;

-- LastSequence returns pgx.ErrNoRows if the tenant has no such wallet.
-- name: LastSequence :one
SELECT last_seq FROM wallet_sequences WHERE wallet_id = @wallet_id AND @tenant::text IN (tenant, '*');

-- OperationsBetween returns a wallet's operations between two sequences, in order. Sequences are
-- dense, so the bounds make a page.
-- name: OperationsBetween :many
SELECT * FROM operations
WHERE wallet_id = @wallet_id AND seq > @after AND seq < @before ORDER BY seq;

-- OutcomesBetween returns their outcomes, in order. It is no join: while the planner has no
-- statistics, it would read all outcomes of the page for each operation.
-- name: OutcomesBetween :many
SELECT * FROM outcomes WHERE wallet_id = @wallet_id AND seq > @after AND seq < @before ORDER BY seq;

-- StatementEnds returns how far a wallet is accepted and applied, or pgx.ErrNoRows if the tenant has no such wallet.
-- name: StatementEnds :one
SELECT s.last_seq, w.applied_seq FROM wallet_sequences s JOIN wallets w ON w.id = s.wallet_id
WHERE s.wallet_id = @wallet_id AND @tenant::text IN (s.tenant, '*');

-- LastBefore finds, by halving, the last of a wallet's first last_seq operations that was accepted before a time: 0 if
-- none was. It is exact where times follow the sequence. Where they do not, by up to a minute, ask for a time a
-- minute off, and look at the operations from there on.
-- name: LastBefore :one
WITH RECURSIVE search AS (
  SELECT 0::bigint AS low, sqlc.arg(last_seq)::bigint + 1 AS high
  UNION ALL
  SELECT CASE WHEN early THEN middle ELSE low END, CASE WHEN early THEN high ELSE middle END
  FROM (
    SELECT low, high, (low + high) / 2 AS middle,
           coalesce((SELECT o.created_at FROM operations o WHERE o.wallet_id = @wallet_id AND o.seq = (low + high) / 2) < @time::timestamptz, false) AS early
    FROM search WHERE high - low > 1) half
)
SELECT low::bigint FROM search WHERE high - low = 1;

-- LastAcceptedBefore returns the last operation between two sequences that was accepted before a time.
-- name: LastAcceptedBefore :one
SELECT seq FROM operations
WHERE wallet_id = @wallet_id AND seq > @after AND seq < @before AND created_at < @time::timestamptz
ORDER BY seq DESC LIMIT 1;

-- FilterOperations returns those of a wallet's sequences whose operation has a type and a status (empty: any) and was
-- accepted in a span of time, in order. The status is a subquery and no join, for the reason above.
-- name: FilterOperations :many
SELECT * FROM operations o
WHERE o.wallet_id = @wallet_id AND o.seq = ANY (@seqs::bigint[])
  AND (@type::text = '' OR o.type::text = @type::text)
  AND o.created_at >= @since::timestamptz AND o.created_at < @until::timestamptz
  AND (@status::text = '' OR coalesce((SELECT c.status::text FROM outcomes c WHERE c.wallet_id = o.wallet_id AND c.seq = o.seq), 'PENDING') = @status::text)
ORDER BY o.seq;

-- OutcomesAt returns the outcomes of a wallet's sequences, in order.
-- name: OutcomesAt :many
SELECT * FROM outcomes WHERE wallet_id = @wallet_id AND seq = ANY (@seqs::bigint[]) ORDER BY seq;

-- SubjectSequences returns the first sequences, between two of them, of the operations that refer to a hold or an
-- operation. One may be in another wallet: the RECEIVE of a transfer.
-- name: SubjectSequences :many
SELECT wallet_id, seq FROM operations
WHERE subject_id = @subject_id AND seq > @after AND seq < @before ORDER BY seq LIMIT sqlc.arg(max_rows)::int;

-- LastSubjectSequences returns the last ones, the last of them first.
-- name: LastSubjectSequences :many
SELECT wallet_id, seq FROM operations
WHERE subject_id = @subject_id AND seq > @after AND seq < @before ORDER BY seq DESC LIMIT sqlc.arg(max_rows)::int;

-- OpenHolds returns a page of a wallet's open holds, with the wallet as it is with them. What remains of one is what the
-- last applied operation has left that names it, which is one look at an index, however many do: all of it, if none does.
-- name: OpenHolds :many
SELECT sqlc.embed(w), h.seq, h.hold_id, h.expires_at, o.amount, o.reference, o.created_at,
  coalesce((SELECT (SELECT c.subject_left FROM outcomes c WHERE c.wallet_id = n.wallet_id AND c.seq = n.seq)
    FROM operations n WHERE n.subject_id = h.hold_id AND n.seq <= w.applied_seq ORDER BY n.seq DESC LIMIT 1), o.amount)::bigint AS remaining
FROM open_holds h
JOIN wallets w ON w.id = h.wallet_id
CROSS JOIN LATERAL (SELECT p.amount, p.reference, p.created_at FROM operations p WHERE p.wallet_id = h.wallet_id AND p.seq = h.seq LIMIT 1) o
WHERE h.wallet_id = @wallet_id AND h.seq > @after
ORDER BY h.seq LIMIT sqlc.arg(max_rows)::int;

-- HoldState returns what became of a processed hold, with its wallet as it is then: what remains, as in OpenHolds, and
-- what was captured. Every CAPTURE that took something is among the first 100 operations that name the hold: later ones
-- fail by the limit, and RELEASE and EXPIRE close it. They are looked up one after the other, because the planner
-- might sort all that there are.
-- name: HoldState :one
WITH RECURSIVE named AS (
  (SELECT o.wallet_id, o.seq, o.type, o.amount, 1 AS place FROM operations o
   WHERE o.subject_id = sqlc.arg(hold_id)::uuid ORDER BY o.seq LIMIT 1)
  UNION ALL
  SELECT n.wallet_id, n.seq, n.type, n.amount, named.place + 1 FROM named
  CROSS JOIN LATERAL (SELECT o.wallet_id, o.seq, o.type, o.amount FROM operations o
    WHERE o.subject_id = sqlc.arg(hold_id)::uuid AND o.seq > named.seq ORDER BY o.seq LIMIT 1) n
  WHERE named.place < 100
)
SELECT sqlc.embed(w),
  coalesce((SELECT (SELECT c.subject_left FROM outcomes c WHERE c.wallet_id = n.wallet_id AND c.seq = n.seq)
    FROM operations n WHERE n.subject_id = sqlc.arg(hold_id)::uuid AND n.seq <= w.applied_seq ORDER BY n.seq DESC LIMIT 1),
    sqlc.arg(amount)::bigint)::bigint AS remaining,
  (SELECT coalesce(sum((SELECT coalesce(c.applied_amount, named.amount) FROM outcomes c
      WHERE c.wallet_id = named.wallet_id AND c.seq = named.seq AND c.status = 'PROCESSED')), 0)
    FROM named WHERE named.type = 'CAPTURE')::bigint AS captured,
  EXISTS (SELECT FROM operations e JOIN outcomes c USING (wallet_id, seq) WHERE e.id = sqlc.arg(expire_id)::uuid AND c.status = 'PROCESSED') AS expired
FROM wallets w WHERE w.id = @wallet_id;

-- WalletVersions returns how far wallets are applied.
-- name: WalletVersions :many
SELECT id, applied_seq FROM wallets WHERE id = ANY (@ids::uuid[]);

-- ReadOperation returns pgx.ErrNoRows if there is no such operation, or if the tenant does not have its wallet.
-- name: ReadOperation :one
SELECT o.* FROM operation_states o WHERE o.id = @id
  AND EXISTS (SELECT FROM wallet_sequences s WHERE s.wallet_id = o.wallet_id AND @tenant::text IN (s.tenant, '*'));

-- Publication says whether all relays' saved positions are past an operation's outbox row, and whether an operator has
-- parked it; known is false if the row is deleted, or if the database was restored from a dump since. The row has no
-- operation's id where the api may see it. But one transaction, the hidden xmin of the operation with the epoch that makes
-- it one of the past, wrote both; it wrote the rows of a wallet in the order of sequences, and they are deleted in that
-- order: so the row is as far from the last of them as the operation is.
-- name: Publication :one
WITH accepted AS MATERIALIZED (
  SELECT o.wallet_id, o.seq, o.xmin::text AS xmin, ((x.xid - CASE WHEN x.xid >= x.next THEN 4294967296 ELSE 0 END)::text)::xid8 AS xid
  FROM operations o
  CROSS JOIN LATERAL (
    SELECT n.next, ((n.next >> 32) << 32) + o.xmin::text::bigint AS xid
    FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) n) x
  WHERE o.wallet_id = @wallet_id AND o.seq = @seq),
written AS MATERIALIZED (
  SELECT m.id, m.xid FROM accepted a CROSS JOIN LATERAL (
    SELECT id, xid FROM outbox WHERE outbox.xid = a.xid AND topic = @topic AND key = a.wallet_id::text OFFSET 0) m),
message AS MATERIALIZED (
  SELECT w.id, w.xid FROM written w ORDER BY w.id DESC LIMIT 1 OFFSET (
    SELECT count(*) FROM accepted a CROSS JOIN LATERAL (
      SELECT later.xmin::text AS xmin FROM operations later
      WHERE later.wallet_id = a.wallet_id AND later.seq > a.seq AND later.seq <= a.seq + (SELECT count(*) FROM written) OFFSET 0) l
    WHERE l.xmin = a.xmin))
SELECT sqlc.embed(wallet),
  EXISTS (SELECT FROM message)::boolean AS known,
  EXISTS (SELECT FROM message m JOIN parked_rows p ON p.outbox_id = m.id)::boolean AS parked,
  coalesce((SELECT bool_and(pg_visible_in_snapshot(m.xid, p.prev) OR coalesce(m.id <= p.after_id AND pg_visible_in_snapshot(m.xid, p.cur), false))
    FROM message m CROSS JOIN relay_positions p WHERE p.relay NOT LIKE '%/events'), false)::boolean AS published
FROM wallets wallet WHERE wallet.id = @wallet_id;
