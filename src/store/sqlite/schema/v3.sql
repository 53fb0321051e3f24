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

-- What people effectively held before: with what they hold now, the state at any generation since
-- `held_from`. What was held before that was not kept: unknown, not nothing.
ALTER TABLE meta ADD COLUMN held_from INTEGER NOT NULL DEFAULT 0;
UPDATE meta SET held_from = generation;
-- In which generation somebody came; 0: in `held_from` or before.
ALTER TABLE user ADD COLUMN made INTEGER NOT NULL DEFAULT 0;
CREATE TABLE past_set (
    num   INTEGER PRIMARY KEY,
    roles BLOB NOT NULL UNIQUE -- numbers, sorted, as varints of differences
);
CREATE TABLE past_held (
    user     INTEGER NOT NULL,
    until    INTEGER NOT NULL, -- the generation that gave the user other roles
    past_set INTEGER NOT NULL, -- what it took
    PRIMARY KEY (user, until)
) WITHOUT ROWID;
-- Was `role` everyone's until generation `until` defined it anew?
CREATE TABLE role_past (
    role     INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    everyone INTEGER NOT NULL,
    PRIMARY KEY (role, until)
) WITHOUT ROWID;
-- Local grants that are gone. An idp grant's past is in the history.
ALTER TABLE local_grant ADD COLUMN made INTEGER NOT NULL DEFAULT 0; -- as of `user`
CREATE TABLE local_grant_past (
    num    INTEGER PRIMARY KEY,
    user   INTEGER NOT NULL,
    role   INTEGER NOT NULL,
    by     TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    until  INTEGER,
    made   INTEGER NOT NULL,
    gone   INTEGER NOT NULL -- the generation that took it away
);
CREATE INDEX local_grant_past_user ON local_grant_past (user);

-- Somebody has looked at who holds what. No part of any generation.
CREATE TABLE review (
    num        INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    generation INTEGER NOT NULL, -- the state that was looked at
    by         TEXT    NOT NULL, -- who, as they say
    account    TEXT    NOT NULL, -- whose account it was
    at         INTEGER NOT NULL
);
-- Who the pods of pools are in the clouds. NULL: unknown, and `why` says so.
CREATE TABLE workload (
    num             INTEGER PRIMARY KEY,
    pool            TEXT NOT NULL,
    platform        TEXT NOT NULL,
    namespace       TEXT,
    service_account TEXT,
    cloud           TEXT, -- aws, azure, gcp
    identity        TEXT,
    why             TEXT NOT NULL
);
-- 0: no request of the catalog, but one that tells who reaches a pool of `workload`.
ALTER TABLE request ADD COLUMN listed INTEGER NOT NULL DEFAULT 1;

-- A decision may hang on who asks, by `${self}` in a policy. `whose`: 0 everybody's; 1 everybody's but
-- the one whom the resource is named after (`user/ann`: Ann); 2 that one's alone.
DROP VIEW gateway_role_decision;
DROP VIEW gateway_decision;
ALTER TABLE decision RENAME TO decision_2;
CREATE TABLE decision (
    list    INTEGER NOT NULL,
    request INTEGER NOT NULL,
    whose   INTEGER NOT NULL,
    allow   INTEGER NOT NULL,
    role    INTEGER NOT NULL,
    PRIMARY KEY (list, request, whose)
) WITHOUT ROWID;
INSERT INTO decision (list, request, whose, allow, role)
SELECT list, request, 0, allow, role FROM decision_2;
DROP TABLE decision_2;

-- What does not hang on who asks.
CREATE VIEW gateway_role_decision AS
SELECT s.id AS role_set,
       q.action,
       coalesce(q.resource, '') AS resource,
       CASE d.allow WHEN 1 THEN 'Allow' ELSE 'Deny' END AS effect,
       r.name AS role
  FROM role_set s
  JOIN decision d ON d.list = s.list
  JOIN request q ON q.num = d.request
  JOIN role r ON r.num = d.role
 WHERE q.listed = 1 AND d.whose = 0;

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
 WHERE q.listed = 1
   AND (u.status = 0 OR (u.status = 2 AND u.disabled_by IS NULL))
   AND (d.whose = 0
        OR (d.whose = 2) = (substr(q.resource, instr(q.resource, '/') + 1) = u.username));

-- Who reaches which cloud identity: whoever may start pods in the pool, or get into them.
CREATE VIEW gateway_workload_identity AS
SELECT u.username,
       w.pool,
       w.platform,
       w.namespace,
       w.service_account,
       w.cloud,
       w.identity,
       q.action AS via_action
  FROM user u
  JOIN role_set s ON s.num = u.role_set
  JOIN decision d ON d.list = s.list AND d.allow = 1
  JOIN request q ON q.num = d.request AND q.action IN ('workflow:Create', 'workflow:Exec')
  JOIN workload w ON q.resource = 'pool/' || w.pool
 WHERE (u.status = 0 OR (u.status = 2 AND u.disabled_by IS NULL))
   AND (d.whose = 0 OR (d.whose = 2) = (w.pool = u.username));

-- People who were added by hand: what their rows in the mirror of `local` do not say. The rows of
-- those who were removed stay.
CREATE TABLE local_user (
    ext         TEXT    PRIMARY KEY, -- the external id in the source `local`
    service     INTEGER NOT NULL,    -- 1: only tokens speak for it
    admin       INTEGER NOT NULL,    -- 1: `[default_admin]` sees to it
    by          TEXT    NOT NULL,    -- who added it, when and why
    at          INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    last        TEXT,                -- what was done to it last: disabled, enabled, removed
    last_by     TEXT,
    last_at     INTEGER,
    last_reason TEXT
) WITHOUT ROWID;

-- Who asked by hand for what a generation changed, and why. NULL: a run did.
ALTER TABLE generation ADD COLUMN by TEXT;
ALTER TABLE generation ADD COLUMN reason TEXT;

-- A source could be called `local` once; now that is the built-in one. What another of that name
-- left is known as that of a source which left the configuration, so nobody becomes somebody else.
UPDATE source SET name = 'local (before schema 3)' WHERE name = 'local';
UPDATE link_source SET name = 'local (before schema 3)' WHERE name = 'local';
UPDATE reason SET source = 'local (before schema 3)' WHERE source = 'local';
UPDATE user SET disabled_by = 'local (before schema 3)' WHERE disabled_by = 'local';
UPDATE meta SET settled = NULL;
