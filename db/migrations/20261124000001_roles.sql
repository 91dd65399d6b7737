-- migrate:up
SET LOCAL lock_timeout = '3s';

-- One role per service, without login or password. Each service logs in as a member of its own,
-- and the following migrations grant that role only what the service does. Roles belong to the
-- whole server, so another database of it may have made them already, or be making them right now.
DO $$
DECLARE
  service text;
BEGIN
  FOREACH service IN ARRAY ARRAY['wallet_api', 'wallet_relay', 'wallet_worker'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', service);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END LOOP;
END
$$;

GRANT USAGE ON SCHEMA public TO wallet_api, wallet_relay, wallet_worker;

-- A service is not ready while a migration that it knows of is missing. (dbmate has made this table
-- before the first migration runs; it stands here for the generator of the queries.)
CREATE TABLE IF NOT EXISTS schema_migrations (version varchar PRIMARY KEY);
GRANT SELECT ON schema_migrations TO wallet_api, wallet_relay, wallet_worker;

-- migrate:down
SET LOCAL lock_timeout = '3s';

-- The roles stay: other databases of this server may use them.
REVOKE SELECT ON schema_migrations FROM wallet_api, wallet_relay, wallet_worker;
REVOKE USAGE ON SCHEMA public FROM wallet_api, wallet_relay, wallet_worker;
