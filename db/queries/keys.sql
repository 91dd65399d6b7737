-- FindKey returns pgx.ErrNoRows if no key has one of the hashes, if it was revoked, or if its tenant is
-- disabled. The hash of a key of one tenant is another one than that of a key of all: a key is found by either.
-- name: FindKey :one
SELECT k.id, k.client, k.scopes, k.all_tenants, k.tenant FROM api_keys k
WHERE k.hash IN (@hash::bytea, @tenant_hash::bytea) AND k.revoked_at IS NULL
  AND (k.all_tenants OR EXISTS (SELECT FROM tenants t WHERE t.name = k.tenant AND t.disabled_at IS NULL));

-- CreateKey stores a new key, which has one tenant or all.
-- name: CreateKey :exec
INSERT INTO api_keys (id, client, hash, scopes, all_tenants, tenant)
VALUES (@id, @client, @hash, @scopes, @all_tenants, sqlc.narg(tenant));

-- ListKeys returns all keys, the revoked ones too, in order of creation.
-- name: ListKeys :many
SELECT id, client, hash, scopes, all_tenants, tenant, created_at, revoked_at FROM api_keys ORDER BY created_at, id;

-- RevokeKey reports whether the key was valid until now.
-- name: RevokeKey :execrows
UPDATE api_keys SET revoked_at = now() WHERE id = @id AND revoked_at IS NULL;

-- AddTenant adds a tenant, unless it is there.
-- name: AddTenant :exec
INSERT INTO tenants (name) VALUES (@name) ON CONFLICT (name) DO NOTHING;

-- ListTenants returns all tenants and how many valid keys each has.
-- name: ListTenants :many
SELECT t.name, t.created_at, t.disabled_at,
       (SELECT count(*) FROM api_keys k WHERE k.tenant = t.name AND k.revoked_at IS NULL) AS keys
FROM tenants t ORDER BY t.name;

-- LockTenant returns pgx.ErrNoRows if there is no such tenant. A tenant that is disabled meanwhile gets no key.
-- name: LockTenant :one
SELECT * FROM tenants WHERE name = @name FOR SHARE;

-- DisableTenant reports whether the tenant was there and not disabled.
-- name: DisableTenant :execrows
UPDATE tenants SET disabled_at = now() WHERE name = @name AND disabled_at IS NULL;

-- EnableTenant reports whether the tenant was there and disabled.
-- name: EnableTenant :execrows
UPDATE tenants SET disabled_at = NULL WHERE name = @name AND disabled_at IS NOT NULL;
