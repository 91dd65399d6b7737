-- FindKey returns pgx.ErrNoRows if no key has this hash, or if it was revoked.
-- name: FindKey :one
SELECT id, client, scopes FROM api_keys WHERE hash = @hash AND revoked_at IS NULL;

-- CreateKey stores a new key.
-- name: CreateKey :exec
INSERT INTO api_keys (id, client, hash, scopes) VALUES (@id, @client, @hash, @scopes);

-- ListKeys returns all keys, the revoked ones too, in order of creation.
-- name: ListKeys :many
SELECT id, client, scopes, created_at, revoked_at FROM api_keys ORDER BY created_at, id;

-- RevokeKey reports whether the key was valid until now.
-- name: RevokeKey :execrows
UPDATE api_keys SET revoked_at = now() WHERE id = @id AND revoked_at IS NULL;
