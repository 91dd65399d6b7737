-- migrate:up
SET LOCAL lock_timeout = '3s';

CREATE OR REPLACE VIEW operation_states WITH (security_invoker = true) AS
SELECT o.wallet_id, o.seq, o.id, o.type, o.amount, o.reference, o.created_at,
       coalesce(c.status::text, 'PENDING')::text AS status, c.failure_reason, c.balance_after, c.applied_at,
       o.subject_id, o.counterpart_id, o.expires_at, o.final, o.metadata,
       c.held_after, c.state_after, c.applied_amount, c.subject_left
FROM operations o
LEFT JOIN outcomes c USING (wallet_id, seq);

-- migrate:down
SET LOCAL lock_timeout = '3s';

DROP VIEW operation_states;
CREATE VIEW operation_states WITH (security_invoker = true) AS
SELECT o.wallet_id, o.seq, o.id, o.type, o.amount, o.reference, o.created_at,
       coalesce(c.status::text, 'PENDING')::text AS status, c.failure_reason, c.balance_after, c.applied_at
FROM operations o
LEFT JOIN outcomes c USING (wallet_id, seq);
GRANT SELECT ON operation_states TO wallet_api, wallet_worker;
