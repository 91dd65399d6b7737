-- AppliedMigrations lists the versions that dbmate has applied.
-- name: AppliedMigrations :many
SELECT version FROM schema_migrations;
