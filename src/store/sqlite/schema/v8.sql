-- Schema 8.

DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS
SELECT 8 AS schema_version,
       generation,
       strftime('%Y-%m-%dT%H:%M:%SZ', applied_at, 'unixepoch') AS applied_at,
       -- NULL while some configured source has never been read in full: its age is unknown. What
       -- `local` says is always of now; where nothing else is configured, the last run's time.
       (SELECT CASE WHEN count(*) = count(read_at)
                    THEN strftime('%Y-%m-%dT%H:%M:%SZ', min(read_at), 'unixepoch') END
          FROM source
         WHERE configured = 1
           AND (name <> 'local' OR NOT EXISTS (SELECT 1 FROM source
                                                WHERE configured = 1 AND name <> 'local')))
           AS oldest_source_read_at
  FROM meta;

-- One change is resolved with the references that bear on those whom it concerns alone. So what is
-- called alike is found by index: groups by their bare names as directories compare them (`bare`; NULL:
-- it is no group, or `meta.names` says that it is still to be made), and all by their identities.
ALTER TABLE mirror_container ADD COLUMN bare TEXT;
CREATE INDEX mirror_container_bare ON mirror_container (bare) WHERE bare IS NOT NULL;
CREATE INDEX mirror_container_identity ON mirror_container (identity);
-- And whether anything was never read in full that may give a role to anybody is what the last plan
-- found; 0: it was, or nobody knows.
ALTER TABLE meta ADD COLUMN all_read INTEGER NOT NULL DEFAULT 0;
-- For whom only tokens speak is asked with every change.
CREATE INDEX local_user_spoken ON local_user (ext) WHERE service = 1 OR admin = 1;
