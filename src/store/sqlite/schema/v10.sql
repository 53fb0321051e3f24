-- Schema 10.

DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS
SELECT 10 AS schema_version,
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

-- Sessions that ended before their tokens did: a token of one is refused whose `iat` is `last_iat` or
-- earlier. No part of any generation. `num` grows with every row, so that a gateway reads what it does not
-- know yet.
CREATE TABLE ended_session (
    num      INTEGER PRIMARY KEY AUTOINCREMENT,
    realm    TEXT NOT NULL,    -- the name of a source, or an issuer
    issuer   INTEGER NOT NULL, -- 1: an issuer that is no source
    kind     INTEGER NOT NULL, -- 0: a session, 1: all of a person's, 2: everybody's
    id       TEXT NOT NULL,    -- the `sid`, the `sub`, or ''
    last_iat INTEGER NOT NULL,
    UNIQUE (realm, issuer, kind, id)
);
CREATE INDEX ended_session_iat ON ended_session (last_iat);
