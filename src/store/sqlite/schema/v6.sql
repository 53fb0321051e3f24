-- Schema 6.

DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS
SELECT 6 AS schema_version,
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

-- One change is planned with those whom it concerns alone; limits are shares of everybody. So
-- everybody is counted as they change: how many users are enabled, and how many effectively hold
-- each role (no row: nobody does).
ALTER TABLE meta ADD COLUMN enabled INTEGER NOT NULL DEFAULT 0;
UPDATE meta SET enabled = (SELECT count(*) FROM user
                            WHERE status = 0 OR (status = 2 AND disabled_by IS NULL));
CREATE TABLE role_holders (
    role  INTEGER PRIMARY KEY,
    users INTEGER NOT NULL
);
INSERT INTO role_holders (role, users)
SELECT m.role, sum(s.users)
  FROM (SELECT role_set, count(*) AS users FROM user GROUP BY role_set) s
  JOIN role_set_role m ON m.role_set = s.role_set
 GROUP BY m.role;

-- What an account is found by where that is not its username or address with ASCII in lower case,
-- which is what SQLite folds: the canonical form of the username, that of the address, and the address
-- in lower case. NULL: it is, or it is no name at all. `meta.names` says which version of the
-- program's forms these are; 0: they are still to be made, when the store is first opened for writing.
ALTER TABLE mirror_user ADD COLUMN called       TEXT;
ALTER TABLE mirror_user ADD COLUMN called_email TEXT;
ALTER TABLE mirror_user ADD COLUMN address      TEXT;
ALTER TABLE meta ADD COLUMN names INTEGER NOT NULL DEFAULT 0;
CREATE INDEX mirror_user_called ON mirror_user (called) WHERE called IS NOT NULL;
CREATE INDEX mirror_user_called_email ON mirror_user (called_email) WHERE called_email IS NOT NULL;
CREATE INDEX mirror_user_address ON mirror_user (address) WHERE address IS NOT NULL;
CREATE INDEX mirror_user_email ON mirror_user (email COLLATE NOCASE) WHERE email <> '';
CREATE INDEX mirror_user_federation ON mirror_user (federation) WHERE federation IS NOT NULL;
DROP INDEX mirror_user_odd;
