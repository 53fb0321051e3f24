-- Schema 3.

-- Access tokens. Of the secret only a digest is kept.
CREATE TABLE token (
    num         INTEGER PRIMARY KEY,
    user        INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    digest      BLOB    NOT NULL UNIQUE, -- SHA-256 of the secret
    expires_at  INTEGER NOT NULL,
    description TEXT    NOT NULL,
    by          TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    role_set    INTEGER NOT NULL, -- what it decides with now: the empty set where its owner is disabled
    UNIQUE (user, name)
);
-- The roles that it was made with and that its owner has held ever since.
CREATE TABLE token_role (
    token INTEGER NOT NULL,
    role  INTEGER NOT NULL,
    PRIMARY KEY (token, role)
) WITHOUT ROWID;

DROP VIEW gateway_meta;
CREATE VIEW gateway_meta AS
SELECT 3 AS schema_version,
       generation,
       strftime('%Y-%m-%dT%H:%M:%SZ', applied_at, 'unixepoch') AS applied_at,
       -- NULL while some configured source has never been read in full: its age is unknown.
       (SELECT CASE WHEN count(*) = count(read_at)
                    THEN strftime('%Y-%m-%dT%H:%M:%SZ', min(read_at), 'unixepoch') END
          FROM source WHERE configured = 1) AS oldest_source_read_at
  FROM meta;

-- Tokens whose owner is not gone. Whether one has expired is for the reader's clock to say.
CREATE VIEW gateway_token AS
SELECT u.username,
       t.name,
       strftime('%Y-%m-%dT%H:%M:%SZ', t.expires_at, 'unixepoch') AS expires_at,
       s.id AS role_set
  FROM token t
  JOIN user u ON u.id = t.user
  JOIN role_set s ON s.num = t.role_set
 WHERE u.status <> 3;
