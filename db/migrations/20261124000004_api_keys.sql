-- migrate:up
SET LOCAL lock_timeout = '3s';

-- Who may call the API. hash is the SHA-256 of the key, which itself is stored nowhere. A client
-- may have several keys, so that they can be rotated.
CREATE TABLE api_keys (
  id         uuid PRIMARY KEY,
  client     text NOT NULL CHECK (char_length(client) BETWEEN 1 AND 64),
  hash       bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  scopes     text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz
);

GRANT SELECT ON api_keys TO wallet_api;

-- migrate:down
SET LOCAL lock_timeout = '3s';

DROP TABLE api_keys;
