-- Schema 9.

DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS
SELECT 9 AS schema_version,
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

-- A domain of Active Directory has a SID, and each person and group in it that and a number: `rid`.
-- NULL: it was never read; 0: the row has none of this domain. Of a source NULL means that it is no domain,
-- and an empty text that it may be any: nobody has asked those that were read before.
ALTER TABLE source           ADD COLUMN domain TEXT;
UPDATE source SET domain = '', digest = 'before schema 9'
 WHERE digest IS NOT NULL AND name <> 'local';
ALTER TABLE mirror_user      ADD COLUMN rid    INTEGER;
ALTER TABLE mirror_container ADD COLUMN rid    INTEGER;
-- By its number somebody is found for whom a group of another domain lists the SID, and by its absence whose
-- was never read. Whether any group lists some is asked with every change.
CREATE INDEX mirror_user_rid ON mirror_user (rid);
CREATE INDEX mirror_container_foreign ON mirror_container (key) WHERE kind = 4;
