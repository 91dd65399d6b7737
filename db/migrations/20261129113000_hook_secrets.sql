-- migrate:up
SET LOCAL lock_timeout = '3s';

-- The secrets before previous_secret that sign too, [{"secret": …, "until": …}], the oldest first: a webhook whose
-- secret is exchanged twice within a day may be verified by any of them still.
ALTER TABLE hook_endpoints ADD COLUMN older_secrets jsonb NOT NULL DEFAULT '[]';

-- migrate:down
SET LOCAL lock_timeout = '3s';

ALTER TABLE hook_endpoints DROP COLUMN older_secrets;
