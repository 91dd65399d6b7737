-- Makes each service's login, a member of the role that the migrations granted that service's work
-- to, and sets its password. It is safe to run again, and does so at every start: a changed password
-- takes effect. The passwords come as settings of the session, from PGOPTIONS.
DO $$
DECLARE
  service text;
BEGIN
  FOREACH service IN ARRAY ARRAY['api', 'relay', 'worker', 'hooks'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
      EXECUTE format('CREATE ROLE %I LOGIN IN ROLE %I', service, 'wallet_' || service);
    END IF;
    EXECUTE format('ALTER ROLE %I PASSWORD %L', service, current_setting('password.' || service));
  END LOOP;
END
$$;
