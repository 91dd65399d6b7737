-- name: Begin :exec
BEGIN;

-- name: Commit :exec
COMMIT;

-- name: Rollback :exec
ROLLBACK;
