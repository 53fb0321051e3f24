-- Schema 4.

DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS
SELECT 4 AS schema_version,
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

-- What a reason leads through is known by its id. What the rule matched is the last step of the path;
-- rows that are here already have no ids in it, and are read as they are.
ALTER TABLE reason RENAME TO reason_2;
CREATE TABLE reason (
    num    INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    rule   TEXT NOT NULL,
    path   TEXT NOT NULL, -- JSON
    UNIQUE (source, rule, path)
);
INSERT INTO reason (num, source, rule, path) SELECT num, source, rule, path FROM reason_2;
DROP TABLE reason_2;

-- Mirrors are patched row by row: `directory` in the program says how, and why the digest of a mirror
-- is keyed.
ALTER TABLE meta ADD COLUMN digest_key BLOB;
UPDATE meta SET digest_key = randomblob(32);
ALTER TABLE source ADD COLUMN cursor TEXT; -- how far the source's feed has been followed
-- References' numbers, sorted, as varints of differences: what the user is directly in. NULL, as
-- `sum` below, only in a mirror that an older program wrote, until the store is first opened for
-- writing.
ALTER TABLE mirror_user ADD COLUMN within BLOB;
-- The list that may be long comes last, so that whoever needs the others reads past no members.
ALTER TABLE mirror_container RENAME TO mirror_container_2;
CREATE TABLE mirror_container (
    id       INTEGER PRIMARY KEY,
    kind     INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    identity TEXT    NOT NULL,
    norm     TEXT    NOT NULL,
    parent   INTEGER,
    known    INTEGER NOT NULL,
    up_known INTEGER NOT NULL,
    sum      BLOB,             -- of the digests of the members' ids
    up       BLOB    NOT NULL,
    members  BLOB    NOT NULL
);
INSERT INTO mirror_container
SELECT id, kind, key, name, identity, norm, parent, known, up_known, NULL, up, members
  FROM mirror_container_2;
DROP TABLE mirror_container_2;
CREATE INDEX mirror_container_key ON mirror_container (key);
