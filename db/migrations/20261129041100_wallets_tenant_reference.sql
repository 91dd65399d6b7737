-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY IF NOT EXISTS wallets_tenant_reference ON wallets (tenant, reference, id) WHERE reference IS NOT NULL;

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS wallets_tenant_reference;
