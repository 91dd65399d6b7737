-- migrate:up
SET LOCAL lock_timeout = '3s';

-- Whose wallets are apart from everybody else's. disabled_at stops a tenant's keys.
CREATE TABLE tenants (
  name        text PRIMARY KEY CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'),
  created_at  timestamptz NOT NULL DEFAULT now(),
  disabled_at timestamptz
);

INSERT INTO tenants (name) VALUES ('default');

GRANT SELECT ON tenants TO wallet_api;

-- A key has one tenant, or all. Those of today have all; one that the last release's ctl makes has the default one.
ALTER TABLE api_keys
  ADD COLUMN all_tenants boolean NOT NULL DEFAULT true,
  ADD COLUMN tenant text REFERENCES tenants,
  ADD CONSTRAINT api_keys_tenant CHECK (all_tenants = (tenant IS NULL));
ALTER TABLE api_keys
  ALTER COLUMN all_tenants SET DEFAULT false,
  ALTER COLUMN tenant SET DEFAULT 'default';

-- migrate:down
SET LOCAL lock_timeout = '3s';

ALTER TABLE api_keys DROP COLUMN tenant, DROP COLUMN all_tenants;
DROP TABLE tenants;
