-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY IF NOT EXISTS operations_subject ON operations (subject_id, seq) WHERE subject_id IS NOT NULL;

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS operations_subject;
