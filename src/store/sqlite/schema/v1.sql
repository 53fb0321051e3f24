-- Schema 1. Tables are private to idpsyncd; the views at the end are for gateways (docs/store.md).
-- Times are whole seconds since 1970 in UTC. Numbers (`num`) are the store's own.
-- No STRICT tables and no JSON functions: gateways bring their own, perhaps old, SQLite.

PRAGMA application_id = 1768190067; -- 'idps'

CREATE TABLE meta (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL DEFAULT 0,
    applied_at INTEGER,
    version    INTEGER NOT NULL DEFAULT 0,
    settled    TEXT,
    next_due   INTEGER,
    next_user  INTEGER NOT NULL DEFAULT 0
);
INSERT INTO meta (id) VALUES (1);

-- A removed role stays as a row that is not live: history goes on naming it.
CREATE TABLE role (
    num         INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    live        INTEGER NOT NULL,
    description TEXT    NOT NULL,
    everyone    INTEGER NOT NULL,
    mode        TEXT    NOT NULL,
    template    TEXT,
    policies    TEXT    NOT NULL -- JSON, what idpsyncd itself reads
);

-- The same policies, multiplied out for readers.
CREATE TABLE role_policy (
    role     INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    position INTEGER NOT NULL,
    effect   TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    resource TEXT,
    PRIMARY KEY (role, n)
) WITHOUT ROWID;

-- The catalog.
CREATE TABLE request (
    num      INTEGER PRIMARY KEY,
    action   TEXT NOT NULL,
    resource TEXT
);

CREATE TABLE role_set (
    num   INTEGER PRIMARY KEY,
    id    TEXT    NOT NULL UNIQUE,
    users INTEGER NOT NULL -- how many users have it; nobody: the row goes
);
CREATE TABLE role_set_role (
    role_set INTEGER NOT NULL,
    role     INTEGER NOT NULL,
    PRIMARY KEY (role_set, role)
) WITHOUT ROWID;
CREATE TABLE decision (
    role_set INTEGER NOT NULL,
    request  INTEGER NOT NULL,
    allow    INTEGER NOT NULL,
    role     INTEGER NOT NULL,
    PRIMARY KEY (role_set, request)
) WITHOUT ROWID;

CREATE TABLE user (
    id          INTEGER PRIMARY KEY,
    username    TEXT    NOT NULL,
    email       TEXT    NOT NULL,
    status      INTEGER NOT NULL, -- 0 enabled, 1 disabled, 2 missing, 3 deprovisioned
    since       INTEGER,
    disabled_by TEXT,
    role_set    INTEGER NOT NULL
);
-- Not unique: two people may swap their names in one run. What must hold is checked at its end.
CREATE INDEX user_username ON user (username, status);

CREATE TABLE link_source (
    num  INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE link (
    user   INTEGER NOT NULL,
    source INTEGER NOT NULL,
    ext    TEXT    NOT NULL,
    PRIMARY KEY (user, source, ext)
) WITHOUT ROWID;
-- For a stranger's look-up: who is known by this id?
CREATE INDEX link_ext ON link (ext);

-- Reasons and sets of them are only ever added: history refers to them too.
CREATE TABLE reason (
    num       INTEGER PRIMARY KEY,
    source    TEXT NOT NULL,
    rule      TEXT NOT NULL,
    reference TEXT NOT NULL,
    path      TEXT NOT NULL, -- JSON
    UNIQUE (source, rule, reference, path)
);
CREATE TABLE reason_set (
    num     INTEGER PRIMARY KEY,
    reasons BLOB NOT NULL UNIQUE -- numbers, sorted, as varints of differences
);
CREATE TABLE idp_grant (
    user    INTEGER NOT NULL,
    role    INTEGER NOT NULL,
    reasons INTEGER NOT NULL,
    PRIMARY KEY (user, role)
) WITHOUT ROWID;
CREATE TABLE local_grant (
    user   INTEGER NOT NULL,
    role   INTEGER NOT NULL,
    by     TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    until  INTEGER,
    PRIMARY KEY (user, role)
) WITHOUT ROWID;

CREATE TABLE generation (
    num   INTEGER PRIMARY KEY,
    at    INTEGER NOT NULL,
    first INTEGER NOT NULL, -- its first row of history
    -- 1: somebody's role set changed whom no row of its history names (an `everyone` role, say)
    silent INTEGER NOT NULL
);
CREATE TABLE history (
    num         INTEGER PRIMARY KEY,
    generation  INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    user        INTEGER,
    role        INTEGER,
    origin      INTEGER, -- 0 idp, 1 local
    cause       INTEGER,
    reasons     INTEGER, -- a reason set: of the grant, after the change
    old_reasons INTEGER,
    old         TEXT,
    new         TEXT,
    note        TEXT
);
-- Renames are few, and tell under which name someone was known at any time.
CREATE INDEX history_rename ON history (user, num) WHERE kind = 4;

-- What waits for a person: a head that is looked at often, and its changes, perhaps millions.
CREATE TABLE held (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    plan       TEXT    NOT NULL, -- the plan's id
    since      TEXT    NOT NULL,
    why        TEXT    NOT NULL, -- JSON: sentences
    lost_pairs INTEGER NOT NULL,
    changes    INTEGER NOT NULL  -- how many rows held_change has
);
CREATE TABLE held_change (
    num    INTEGER PRIMARY KEY, -- from 1, in the plan's order
    change TEXT NOT NULL        -- JSON
);

CREATE TABLE source (
    num            INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    configured     INTEGER NOT NULL,
    kind           TEXT,
    read_at        INTEGER, -- last complete read
    tried_at       INTEGER,
    spoke_at       INTEGER, -- last try that brought something, all of it or a part
    error          TEXT,
    scopes         TEXT,    -- JSON: the last reading, scope by scope
    digest         TEXT,    -- of the mirror; none: no mirror
    ignore_case    INTEGER NOT NULL DEFAULT 0,
    next_user      INTEGER NOT NULL DEFAULT 0,
    next_container INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE federation (
    num INTEGER PRIMARY KEY,
    id  TEXT NOT NULL UNIQUE
);
-- `id` is the source's number times 2^32 plus the thing's own number in the source's mirror.
CREATE TABLE mirror_user (
    id         INTEGER PRIMARY KEY,
    ext        TEXT    NOT NULL,
    username   TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    flags      INTEGER NOT NULL, -- 0..2 enabled yes, no, unknown; + 4: email verified
    federation INTEGER
);
-- For a stranger's look-up: who has this id, who bears this name? SQLite folds ASCII only, and few
-- names hold anything else.
CREATE INDEX mirror_user_ext ON mirror_user (ext);
CREATE INDEX mirror_user_name ON mirror_user (username COLLATE NOCASE);
CREATE INDEX mirror_user_odd ON mirror_user (id) WHERE username GLOB '*[^ -~]*';
CREATE TABLE mirror_container (
    id       INTEGER PRIMARY KEY,
    kind     INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    identity TEXT    NOT NULL,
    norm     TEXT    NOT NULL,
    parent   INTEGER,
    members  BLOB    NOT NULL, -- users' numbers, sorted, as varints of differences
    up       BLOB    NOT NULL, -- containers' numbers, likewise
    known    INTEGER NOT NULL  -- 1: its members were read in full once; 0: who is not in is unknown
);

-- With what issuers of tokens sign. No part of any generation.
CREATE TABLE jwks (
    issuer  TEXT    PRIMARY KEY,
    keys    TEXT    NOT NULL, -- JSON: a JWK set of public keys
    read_at INTEGER NOT NULL  -- when these keys were first read
);

-- The views. Their names and columns are stable within a schema version.

CREATE VIEW gateway_meta AS
SELECT 1 AS schema_version,
       generation,
       strftime('%Y-%m-%dT%H:%M:%SZ', applied_at, 'unixepoch') AS applied_at,
       -- NULL while some configured source has never been read in full: its age is unknown.
       (SELECT CASE WHEN count(*) = count(read_at)
                    THEN strftime('%Y-%m-%dT%H:%M:%SZ', min(read_at), 'unixepoch') END
          FROM source WHERE configured = 1) AS oldest_source_read_at
  FROM meta;

-- A deprovisioned person is shown while nobody else has the name.
CREATE VIEW gateway_user AS
SELECT u.username,
       u.email,
       (u.status = 0 OR (u.status = 2 AND u.disabled_by IS NULL)) AS enabled,
       s.id AS role_set
  FROM user u
  JOIN role_set s ON s.num = u.role_set
 WHERE u.status <> 3
    OR NOT EXISTS (SELECT 1 FROM user o
                    WHERE o.username = u.username AND (o.status <> 3 OR o.id > u.id));

CREATE VIEW gateway_user_role AS
SELECT u.username, r.name AS role
  FROM user u
  JOIN role_set_role m ON m.role_set = u.role_set
  JOIN role r ON r.num = m.role
 WHERE u.status = 0 OR (u.status = 2 AND u.disabled_by IS NULL);

CREATE VIEW gateway_role_decision AS
SELECT s.id AS role_set,
       q.action,
       coalesce(q.resource, '') AS resource,
       CASE d.allow WHEN 1 THEN 'Allow' ELSE 'Deny' END AS effect,
       r.name AS role
  FROM role_set s
  JOIN decision d ON d.role_set = s.num
  JOIN request q ON q.num = d.request
  JOIN role r ON r.num = d.role;

CREATE VIEW gateway_decision AS
SELECT u.username,
       q.action,
       coalesce(q.resource, '') AS resource,
       CASE d.allow WHEN 1 THEN 'Allow' ELSE 'Deny' END AS effect,
       r.name AS role
  FROM user u
  JOIN decision d ON d.role_set = u.role_set
  JOIN request q ON q.num = d.request
  JOIN role r ON r.num = d.role
 WHERE u.status = 0 OR (u.status = 2 AND u.disabled_by IS NULL);

CREATE VIEW gateway_role_policy AS
SELECT r.name AS role, p.position, p.effect, p.action, p.resource
  FROM role_policy p
  JOIN role r ON r.num = p.role;
