-- Schema 2.

-- Which lists of the mirror were read in full at least once: 1 users, 2 groups, 4 roles. A mirror
-- whose source was never read in full proves nothing.
ALTER TABLE source ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;
UPDATE source SET proven = 7 WHERE read_at IS NOT NULL;
-- 1: what it leads to was read in full once; 0: its members may be in anything of the source.
ALTER TABLE mirror_container ADD COLUMN up_known INTEGER NOT NULL DEFAULT 1;
UPDATE mirror_container SET up_known = 0
 WHERE id >> 32 IN (SELECT num FROM source WHERE read_at IS NULL);

DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS
SELECT 2 AS schema_version,
       generation,
       strftime('%Y-%m-%dT%H:%M:%SZ', applied_at, 'unixepoch') AS applied_at,
       -- NULL while some configured source has never been read in full: its age is unknown.
       (SELECT CASE WHEN count(*) = count(read_at)
                    THEN strftime('%Y-%m-%dT%H:%M:%SZ', min(read_at), 'unixepoch') END
          FROM source WHERE configured = 1) AS oldest_source_read_at
  FROM meta;
