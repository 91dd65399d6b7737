-- LockWebhooks lets one transaction at a time create webhooks of a tenant, so that CreateWebhook counts right.
-- name: LockWebhooks :exec
SELECT pg_advisory_xact_lock(hashtextextended('webhooks of ' || sqlc.arg(tenant)::text, 0));

-- CreateWebhook needs LockWebhooks. It changes nothing if there is one with the id, or if the tenant has as many
-- as it may have.
-- name: CreateWebhook :exec
INSERT INTO hook_endpoints (id, tenant, client, url, description, wallets, types, secret)
SELECT @id, @tenant, @client, @url, sqlc.narg(description), sqlc.narg(wallets)::uuid[], sqlc.narg(types)::text[], @secret
WHERE (SELECT count(*) FROM hook_endpoints WHERE tenant = @tenant) < sqlc.arg(most)::bigint
ON CONFLICT (id) DO NOTHING;

-- HasSecret reports whether a webhook has this encrypted secret, which no other request has made.
-- name: HasSecret :one
SELECT EXISTS (SELECT FROM hook_endpoints WHERE id = @id AND secret = @secret);

-- ReadWebhook returns pgx.ErrNoRows if the tenant has no such webhook.
-- name: ReadWebhook :one
SELECT * FROM webhooks WHERE id = @id AND @tenant::text IN (tenant, '*');

-- ListWebhooks returns a page in the order of ids.
-- name: ListWebhooks :many
SELECT * FROM webhooks WHERE @tenant::text IN (tenant, '*') AND id > @after ORDER BY id LIMIT @max_rows;

-- UpdateWebhook changes what is named: the url if it is not null, the others if their flag is set.
-- name: UpdateWebhook :exec
UPDATE hook_endpoints SET
  url = coalesce(sqlc.narg(url), url),
  description = CASE WHEN @set_description::boolean THEN sqlc.narg(description) ELSE description END,
  wallets = CASE WHEN @set_wallets::boolean THEN sqlc.narg(wallets)::uuid[] ELSE wallets END,
  types = CASE WHEN @set_types::boolean THEN sqlc.narg(types)::text[] ELSE types END,
  updated_at = now()
WHERE id = @id AND @tenant::text IN (tenant, '*');

-- RequestEnabled asks hooks to enable or disable a webhook, unless that is so or is asked for already.
--
-- As the other two that ask, it locks the webhook before its request gets an id: hooks goes on from the last id that it
-- has seen, so requests of a webhook have to commit in the order of their ids.
-- name: RequestEnabled :exec
INSERT INTO hook_requests (endpoint_id, kind, actor)
SELECT e.id, CASE WHEN @enabled::boolean THEN 'ENABLE' ELSE 'DISABLE' END, @actor
FROM hook_endpoints e JOIN webhooks w ON w.id = e.id
WHERE e.id = @id AND @tenant::text IN (e.tenant, '*') AND w.enabled IS DISTINCT FROM @enabled::boolean
FOR NO KEY UPDATE OF e;

-- RotateSecret gives a webhook a new secret, and lets the present one sign for another 24 hours, as those before it
-- do until theirs are over. It changes no row if as many sign already as may, or if the secret is the new one: done
-- twice, it does nothing the second time.
-- name: RotateSecret :exec
UPDATE hook_endpoints SET
  older_secrets = CASE WHEN previous_until > now() THEN
      coalesce((SELECT jsonb_agg(o.older) FROM jsonb_array_elements(older_secrets) AS o (older) WHERE (o.older ->> 'until')::timestamptz > now()), '[]')
      || jsonb_build_array(jsonb_build_object('secret', previous_secret, 'until', previous_until))
    ELSE '[]' END,
  previous_secret = secret, previous_until = now() + interval '24 hours', secret = @secret, updated_at = now()
WHERE id = @id AND @tenant::text IN (tenant, '*') AND secret IS DISTINCT FROM @secret
  AND (coalesce(previous_until <= now(), true)
    OR (SELECT count(*) FROM jsonb_array_elements(older_secrets) AS o (older) WHERE (o.older ->> 'until')::timestamptz > now()) + 2 < sqlc.arg(most)::bigint);

-- OldestSecretEnds returns when the first of a webhook's secrets that were exchanged signs no longer.
-- name: OldestSecretEnds :one
SELECT coalesce((SELECT min((o.older ->> 'until')::timestamptz) FROM jsonb_array_elements(older_secrets) AS o (older) WHERE (o.older ->> 'until')::timestamptz > now()), previous_until, now())::timestamptz AS at
FROM hook_endpoints WHERE id = @id;

-- DeleteWebhook reports whether the tenant had the webhook. Everything that belongs to it goes with it.
-- name: DeleteWebhook :execrows
DELETE FROM hook_endpoints WHERE id = @id AND @tenant::text IN (tenant, '*');

-- RequestOfWebhook asks hooks to do something once. It returns pgx.ErrNoRows if the tenant has no such webhook.
-- name: RequestOfWebhook :one
INSERT INTO hook_requests (endpoint_id, kind, since, run, actor)
SELECT e.id, @kind, sqlc.narg(since)::timestamptz, sqlc.narg(run), @actor
FROM hook_endpoints e WHERE e.id = @id AND @tenant::text IN (e.tenant, '*') FOR NO KEY UPDATE
RETURNING hook_requests.id;

-- RequestSkip asks hooks to pass over a run that stalls the webhook: the one that is named, or that which stalls it
-- longest. It returns pgx.ErrNoRows if there is no such run.
-- name: RequestSkip :one
INSERT INTO hook_requests (endpoint_id, kind, run, actor)
SELECT e.id, 'SKIP', stalled.run ->> 'run', @actor
FROM hook_endpoints e JOIN hook_states s ON s.endpoint_id = e.id, jsonb_array_elements(CASE jsonb_typeof(s.stalled) WHEN 'array' THEN s.stalled ELSE '[]' END) WITH ORDINALITY AS stalled (run, n)
WHERE e.id = @id AND @tenant::text IN (e.tenant, '*') AND coalesce(sqlc.narg(run)::text, stalled.run ->> 'run') = stalled.run ->> 'run'
ORDER BY stalled.n LIMIT 1 FOR NO KEY UPDATE OF e
RETURNING hook_requests.id, hook_requests.run;

-- WebhookAttempts returns pgx.ErrNoRows if the tenant has no such webhook.
-- name: WebhookAttempts :one
SELECT coalesce(s.attempts, '[]')::jsonb AS attempts
FROM hook_endpoints e LEFT JOIN hook_states s ON s.endpoint_id = e.id
WHERE e.id = @id AND @tenant::text IN (e.tenant, '*');

-- CountWebhooks says how all webhooks fare, as hooks has saved it, and how long ago it saved last; and names up to 10 of
-- those that are disabled, by a client or because nobody answered for days. Hooks saves what has changed each second,
-- and every 10 s what has not while deliveries wait.
-- name: CountWebhooks :one
SELECT count(*) AS webhooks,
  count(*) FILTER (WHERE s.disabled_at IS NULL AND s.failing_since IS NOT NULL) AS failing,
  count(s.disabled_at) AS disabled,
  coalesce(max(s.lag_seconds) FILTER (WHERE s.disabled_at IS NULL), 0)::float8 AS lag_seconds,
  coalesce(sum(s.lag_messages) FILTER (WHERE s.disabled_at IS NULL), 0)::bigint AS lag_messages,
  coalesce(extract(epoch FROM clock_timestamp() - max(s.updated_at)), 0)::float8 AS saved_seconds,
  ARRAY(SELECT d.endpoint_id FROM hook_states d WHERE d.disabled_at IS NOT NULL ORDER BY d.disabled_at DESC LIMIT 10)::uuid[] AS disabled_ids
FROM hook_endpoints e LEFT JOIN hook_states s ON s.endpoint_id = e.id;
