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

-- Role sets whose decisions are the same share one list of them; nobody's list goes. What was decided
-- before is a list for each set, until it is decided anew.
CREATE TABLE decision_list (
    num    INTEGER PRIMARY KEY,
    digest BLOB    NOT NULL UNIQUE, -- of its decisions
    sets   INTEGER NOT NULL         -- how many role sets have it
);
INSERT INTO decision_list (num, digest, sets)
SELECT num, CAST('of set ' || num AS BLOB), 1 FROM role_set;
ALTER TABLE role_set ADD COLUMN list INTEGER NOT NULL DEFAULT 0;
UPDATE role_set SET list = num;
DROP VIEW gateway_role_decision;
DROP VIEW gateway_decision;
ALTER TABLE decision RENAME COLUMN role_set TO list;

CREATE VIEW gateway_role_decision AS
SELECT s.id AS role_set,
       q.action,
       coalesce(q.resource, '') AS resource,
       CASE d.allow WHEN 1 THEN 'Allow' ELSE 'Deny' END AS effect,
       r.name AS role
  FROM role_set s
  JOIN decision d ON d.list = s.list
  JOIN request q ON q.num = d.request
  JOIN role r ON r.num = d.role;

CREATE VIEW gateway_decision AS
SELECT u.username,
       q.action,
       coalesce(q.resource, '') AS resource,
       CASE d.allow WHEN 1 THEN 'Allow' ELSE 'Deny' END AS effect,
       r.name AS role
  FROM user u
  JOIN role_set s ON s.num = u.role_set
  JOIN decision d ON d.list = s.list
  JOIN request q ON q.num = d.request
  JOIN role r ON r.num = d.role
 WHERE u.status = 0 OR (u.status = 2 AND u.disabled_by IS NULL);

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
