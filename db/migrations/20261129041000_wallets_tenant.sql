-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY IF NOT EXISTS wallets_tenant ON wallets (tenant, id);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS wallets_tenant;
