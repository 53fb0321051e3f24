-- Schema 2.

-- Which lists of the mirror were read in full at least once: 1 users, 2 groups, 4 roles. A mirror
-- whose source was never read in full proves nothing.
ALTER TABLE source ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;
UPDATE source SET proven = 7 WHERE read_at IS NOT NULL;
-- 1: what it leads to was read in full once; 0: its members may be in anything of the source.
ALTER TABLE mirror_container ADD COLUMN up_known INTEGER NOT NULL DEFAULT 1;
UPDATE mirror_container SET up_known = 0
 WHERE id >> 32 IN (SELECT num FROM source WHERE read_at IS NULL);

-- What the source calls this account, where that is not, or not yet, what the person is called:
-- a rename that was refused or waits ('': a name that is no username). Such an account is nobody's
-- at the gateway. NULL: nothing of the kind.
ALTER TABLE link ADD COLUMN claim TEXT;

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

-- Who somebody is by a source's own id, such as a token's `sub`. Nobody who is deprovisioned:
-- another person may have the name by now.
CREATE VIEW gateway_user_link AS
SELECT s.name AS source, l.ext AS external_id, u.username
  FROM link l
  JOIN link_source s ON s.num = l.source
  JOIN user u ON u.id = l.user
 WHERE u.status <> 3 AND (l.claim IS NULL OR l.claim = u.username);
