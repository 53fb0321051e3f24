-- Schema 5.

DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS
SELECT 5 AS schema_version,
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

-- What the guard's window counts: effective pairs lost because of absence, and users whom sources
-- disabled. Of generations from before nothing is known: they count as none.
ALTER TABLE generation ADD COLUMN lost     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generation ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
CREATE INDEX generation_taken ON generation (at, lost, disabled) WHERE lost > 0 OR disabled > 0;
