-- migrate:up
SET LOCAL lock_timeout = '3s';

-- Who may accept what: the worker what follows from operations that it applies, the api everything else. Without a
-- policy for SELECT nobody but the owner would see a row; a dump needs the owner, too, or BYPASSRLS.
CREATE POLICY all_read ON operations FOR SELECT USING (true);
CREATE POLICY api_accepts ON operations FOR INSERT TO wallet_api WITH CHECK (type NOT IN ('RECEIVE', 'RETURN', 'EXPIRE'));
CREATE POLICY worker_accepts ON operations FOR INSERT TO wallet_worker WITH CHECK (type IN ('RECEIVE', 'RETURN', 'EXPIRE'));
ALTER TABLE operations ENABLE ROW LEVEL SECURITY;

-- migrate:down
SET LOCAL lock_timeout = '3s';

ALTER TABLE operations DISABLE ROW LEVEL SECURITY;
DROP POLICY worker_accepts ON operations;
DROP POLICY api_accepts ON operations;
DROP POLICY all_read ON operations;
