-- AppliedMigrations lists the versions that dbmate has applied.
-- name: AppliedMigrations :many
SELECT version FROM schema_migrations;

-- TakesWrites reports false on a standby, and while the server is set to be read-only.
-- name: TakesWrites :one
SELECT (current_setting('transaction_read_only') = 'off')::boolean;
