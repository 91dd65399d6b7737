-- migrate:up
SET LOCAL lock_timeout = '3s';

-- What operators did by hand, by ctl: who, when, what and why. It is for reading afterwards, so that
-- nobody can change it without being noticed: no service role has a right to it, and whoever owns it
-- would have to drop the trigger first.
CREATE TABLE operator_actions (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  done_at timestamptz NOT NULL DEFAULT now(),
  actor   text NOT NULL CHECK (actor <> ''),
  action  text NOT NULL CHECK (action <> ''),
  reason  text NOT NULL CHECK (reason <> '')
);

CREATE FUNCTION operator_actions_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'operator_actions is append-only';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_actions
FOR EACH STATEMENT EXECUTE FUNCTION operator_actions_are_kept();

-- migrate:down
SET LOCAL lock_timeout = '3s';

DROP TABLE operator_actions;
DROP FUNCTION operator_actions_are_kept;
