-- migrate:up
SET LOCAL lock_timeout = '3s';

-- Hooks deletes requests that are done, a day later.
GRANT DELETE ON hook_requests TO wallet_hooks;

-- migrate:down
SET LOCAL lock_timeout = '3s';

REVOKE DELETE ON hook_requests FROM wallet_hooks;
