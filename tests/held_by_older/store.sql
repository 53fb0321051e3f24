PRAGMA user_version = 3;
PRAGMA application_id = 1768190067;
BEGIN TRANSACTION;
CREATE TABLE decision (
    list    INTEGER NOT NULL,
    request INTEGER NOT NULL,
    whose   INTEGER NOT NULL,
    allow   INTEGER NOT NULL,
    role    INTEGER NOT NULL,
    PRIMARY KEY (list, request, whose)
) WITHOUT ROWID;
INSERT INTO "decision" VALUES(1,0,0,1,1);
INSERT INTO "decision" VALUES(1,1,0,1,3);
INSERT INTO "decision" VALUES(2,0,0,1,1);
CREATE TABLE decision_list (
    num    INTEGER PRIMARY KEY,
    digest BLOB    NOT NULL UNIQUE, -- of its decisions
    sets   INTEGER NOT NULL         -- how many role sets have it
);
INSERT INTO "decision_list" VALUES(1,X'21888D7AC42E2CB8E46184302915D193EA76170286A1B94AEDED430F9B223A8E',1);
INSERT INTO "decision_list" VALUES(2,X'1CE73E2583DC330F29DF085AABED438BE53ADF338E4E95EB13F69CF62E50F5B3',1);
CREATE TABLE federation (
    num INTEGER PRIMARY KEY,
    id  TEXT NOT NULL UNIQUE
);
CREATE TABLE generation (
    num   INTEGER PRIMARY KEY,
    at    INTEGER NOT NULL,
    first INTEGER NOT NULL, -- its first row of history
    -- 1: somebody's role set changed whom no row of its history names (an `everyone` role, say)
    silent INTEGER NOT NULL
, by TEXT, reason TEXT);
INSERT INTO "generation" VALUES(1,1795740768,1,0,NULL,NULL);
INSERT INTO "generation" VALUES(2,1795740769,22,0,NULL,NULL);
CREATE TABLE held (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    plan       TEXT    NOT NULL, -- the plan's id
    since      TEXT    NOT NULL,
    why        TEXT    NOT NULL, -- JSON: sentences
    lost_pairs INTEGER NOT NULL,
    changes    INTEGER NOT NULL  -- how many rows held_change has
);
INSERT INTO "held" VALUES(1,'f3274094f623','2026-11-27T00:52:49Z','["6 of 9 effective user-role pairs would be lost because of absence: more than max_lost_percent = 50 and max_lost_floor = 1"]',6,12);
CREATE TABLE held_change (
    num    INTEGER PRIMARY KEY, -- from 1, in the plan's order
    change TEXT NOT NULL        -- JSON
);
INSERT INTO "held_change" VALUES(1,'{"change":"email-changed","user":"ben","user_id":3,"old":"dan@acme.example","new":"ben@acme.example"}');
INSERT INTO "held_change" VALUES(2,'{"change":"grant-reasons","user":"ben","user_id":3,"role":"ml","origin":"idp","old":"through group `/ML` (acme, mapping[1])","new":"through group `/ML` (acme, mapping[1]), and 1 more way"}');
INSERT INTO "held_change" VALUES(3,'{"change":"grant-removed","user":"ada","user_id":0,"role":"ml","origin":"idp","cause":"not-at-idp","why":"no source says so any more; it came through group `/ML` (acme, mapping[1])"}');
INSERT INTO "held_change" VALUES(4,'{"change":"grant-removed","user":"ada","user_id":0,"role":"old","origin":"idp","cause":"role-gone","why":"the role left the configuration or its source"}');
INSERT INTO "held_change" VALUES(5,'{"change":"grant-removed","user":"ben","user_id":1,"role":"ml","origin":"idp","cause":"replaced","why":"another person has the username now"}');
INSERT INTO "held_change" VALUES(6,'{"change":"grant-removed","user":"ben","user_id":1,"role":"old","origin":"idp","cause":"role-gone","why":"the role left the configuration or its source"}');
INSERT INTO "held_change" VALUES(7,'{"change":"grant-removed","user":"ben","user_id":1,"role":"ops","origin":"idp","cause":"replaced","why":"another person has the username now"}');
INSERT INTO "held_change" VALUES(8,'{"change":"grant-removed","user":"ben","user_id":3,"role":"old","origin":"idp","cause":"role-gone","why":"the role left the configuration or its source"}');
INSERT INTO "held_change" VALUES(9,'{"change":"grant-removed","user":"cleo","user_id":2,"role":"old","origin":"idp","cause":"role-gone","why":"the role left the configuration or its source"}');
INSERT INTO "held_change" VALUES(10,'{"change":"role-removed","role":"old","cause":"role-gone","why":"the role left the configuration or its source"}');
INSERT INTO "held_change" VALUES(11,'{"change":"user-deprovisioned","user":"ben","user_id":1,"cause":"replaced","why":"another person has the username now"}');
INSERT INTO "held_change" VALUES(12,'{"change":"user-renamed","user":"ben","user_id":3,"old":"dan","new":"ben"}');
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
INSERT INTO "history" VALUES(1,1,0,NULL,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(2,1,0,NULL,2,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(3,1,0,NULL,3,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(4,1,15,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(5,1,3,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(6,1,11,0,NULL,NULL,NULL,NULL,NULL,NULL,'id-ada','acme');
INSERT INTO "history" VALUES(7,1,12,0,1,0,NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(8,1,12,0,2,0,NULL,2,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(9,1,3,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(10,1,11,1,NULL,NULL,NULL,NULL,NULL,NULL,'id-ben','acme');
INSERT INTO "history" VALUES(11,1,12,1,1,0,NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(12,1,12,1,2,0,NULL,2,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(13,1,12,1,3,0,NULL,3,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(14,1,3,2,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(15,1,11,2,NULL,NULL,NULL,NULL,NULL,NULL,'id-cleo','acme');
INSERT INTO "history" VALUES(16,1,12,2,1,0,NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(17,1,12,2,2,0,NULL,2,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(18,1,3,3,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(19,1,11,3,NULL,NULL,NULL,NULL,NULL,NULL,'id-dan','acme');
INSERT INTO "history" VALUES(20,1,12,3,1,0,NULL,1,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(21,1,12,3,2,0,NULL,2,NULL,NULL,NULL,NULL);
INSERT INTO "history" VALUES(22,2,17,3,NULL,NULL,NULL,NULL,NULL,'ben','id-dan','acme');
CREATE TABLE idp_grant (
    user    INTEGER NOT NULL,
    role    INTEGER NOT NULL,
    reasons INTEGER NOT NULL,
    PRIMARY KEY (user, role)
) WITHOUT ROWID;
INSERT INTO "idp_grant" VALUES(0,1,1);
INSERT INTO "idp_grant" VALUES(0,2,2);
INSERT INTO "idp_grant" VALUES(1,1,1);
INSERT INTO "idp_grant" VALUES(1,2,2);
INSERT INTO "idp_grant" VALUES(1,3,3);
INSERT INTO "idp_grant" VALUES(2,1,1);
INSERT INTO "idp_grant" VALUES(2,2,2);
INSERT INTO "idp_grant" VALUES(3,1,1);
INSERT INTO "idp_grant" VALUES(3,2,2);
CREATE TABLE jwks (
    issuer  TEXT    PRIMARY KEY,
    keys    TEXT    NOT NULL, -- JSON: a JWK set of public keys
    read_at INTEGER NOT NULL  -- when these keys were first read
);
CREATE TABLE link (
    user   INTEGER NOT NULL,
    source INTEGER NOT NULL,
    ext    TEXT    NOT NULL, claim TEXT,
    PRIMARY KEY (user, source, ext)
) WITHOUT ROWID;
INSERT INTO "link" VALUES(0,0,'id-ada',NULL);
INSERT INTO "link" VALUES(1,0,'id-ben',NULL);
INSERT INTO "link" VALUES(2,0,'id-cleo',NULL);
INSERT INTO "link" VALUES(3,0,'id-dan','ben');
CREATE TABLE link_source (
    num  INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO "link_source" VALUES(0,'acme');
INSERT INTO "link_source" VALUES(1,'local');
CREATE TABLE local_grant (
    user   INTEGER NOT NULL,
    role   INTEGER NOT NULL,
    by     TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    until  INTEGER, made INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user, role)
) WITHOUT ROWID;
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
CREATE TABLE meta (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL DEFAULT 0,
    applied_at INTEGER,
    version    INTEGER NOT NULL DEFAULT 0,
    settled    TEXT,
    next_due   INTEGER,
    next_user  INTEGER NOT NULL DEFAULT 0
, held_from INTEGER NOT NULL DEFAULT 0);
INSERT INTO "meta" VALUES(1,2,1795740769,2,'8fab3ac02762fc77bf7c9c3416c05a376a8c56a0114ea0eccb1f5f4265a7eeea',NULL,4,0);
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
, up_known INTEGER NOT NULL DEFAULT 1);
INSERT INTO "mirror_container" VALUES(4294967296,0,'g-ML','ML','/ML','/ML',NULL,X'0201',X'',1,1);
INSERT INTO "mirror_container" VALUES(4294967297,0,'g-ML2','ML2','/ML2','/ML2',NULL,X'03',X'',1,1);
INSERT INTO "mirror_container" VALUES(4294967298,0,'g-OPS','OPS','/OPS','/OPS',NULL,X'',X'',1,1);
CREATE TABLE mirror_user (
    id         INTEGER PRIMARY KEY,
    ext        TEXT    NOT NULL,
    username   TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    flags      INTEGER NOT NULL, -- 0..2 enabled yes, no, unknown; + 4: email verified
    federation INTEGER
);
INSERT INTO "mirror_user" VALUES(4294967296,'id-ada','ada','ada@acme.example',0,NULL);
INSERT INTO "mirror_user" VALUES(4294967298,'id-cleo','cleo','cleo@acme.example',0,NULL);
INSERT INTO "mirror_user" VALUES(4294967299,'id-dan','ben','ben@acme.example',0,NULL);
CREATE TABLE past_held (
    user     INTEGER NOT NULL,
    until    INTEGER NOT NULL, -- the generation that gave the user other roles
    past_set INTEGER NOT NULL, -- what it took
    PRIMARY KEY (user, until)
) WITHOUT ROWID;
CREATE TABLE past_set (
    num   INTEGER PRIMARY KEY,
    roles BLOB NOT NULL UNIQUE -- numbers, sorted, as varints of differences
);
CREATE TABLE reason (
    num       INTEGER PRIMARY KEY,
    source    TEXT NOT NULL,
    rule      TEXT NOT NULL,
    reference TEXT NOT NULL,
    path      TEXT NOT NULL, -- JSON
    UNIQUE (source, rule, reference, path)
);
INSERT INTO "reason" VALUES(1,'acme','mapping[1]','group `/ML`','["group `/ML`"]');
INSERT INTO "reason" VALUES(2,'acme','mapping[4]','group `/ML`','["group `/ML`"]');
INSERT INTO "reason" VALUES(3,'acme','mapping[3]','group `/OPS`','["group `/OPS`"]');
CREATE TABLE reason_set (
    num     INTEGER PRIMARY KEY,
    reasons BLOB NOT NULL UNIQUE -- numbers, sorted, as varints of differences
);
INSERT INTO "reason_set" VALUES(1,X'01');
INSERT INTO "reason_set" VALUES(2,X'02');
INSERT INTO "reason_set" VALUES(3,X'03');
CREATE TABLE request (
    num      INTEGER PRIMARY KEY,
    action   TEXT NOT NULL,
    resource TEXT
, listed INTEGER NOT NULL DEFAULT 1);
INSERT INTO "request" VALUES(0,'workflow:Create','pool/ml-a',1);
INSERT INTO "request" VALUES(1,'workflow:Create','pool/x',1);
CREATE TABLE review (
    num        INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    generation INTEGER NOT NULL, -- the state that was looked at
    by         TEXT    NOT NULL, -- who, as they say
    account    TEXT    NOT NULL, -- whose account it was
    at         INTEGER NOT NULL
);
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
INSERT INTO "role" VALUES(1,'ml',1,'',0,'merge',NULL,'[{"effect":"Allow","actions":["workflow:*"],"resources":["pool/ml-*"]}]');
INSERT INTO "role" VALUES(2,'old',1,'will be taken out',0,'merge',NULL,'[{"effect":"Allow","actions":["workflow:Create"],"resources":null}]');
INSERT INTO "role" VALUES(3,'ops',1,'',0,'merge',NULL,'[{"effect":"Allow","actions":["workflow:Create"],"resources":["pool/x"]}]');
CREATE TABLE role_past (
    role     INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    everyone INTEGER NOT NULL,
    PRIMARY KEY (role, until)
) WITHOUT ROWID;
CREATE TABLE role_policy (
    role     INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    position INTEGER NOT NULL,
    effect   TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    resource TEXT,
    PRIMARY KEY (role, n)
) WITHOUT ROWID;
INSERT INTO "role_policy" VALUES(1,0,0,'Allow','workflow:*','pool/ml-*');
INSERT INTO "role_policy" VALUES(2,0,0,'Allow','workflow:Create',NULL);
INSERT INTO "role_policy" VALUES(3,0,0,'Allow','workflow:Create','pool/x');
CREATE TABLE role_set (
    num   INTEGER PRIMARY KEY,
    id    TEXT    NOT NULL UNIQUE,
    users INTEGER NOT NULL -- how many users have it; nobody: the row goes
, list INTEGER NOT NULL DEFAULT 0);
INSERT INTO "role_set" VALUES(1,'7b15c828c7a087188d937975cf577735',1,1);
INSERT INTO "role_set" VALUES(2,'ad66847ce3be01de3d819df749c1f47d',3,2);
CREATE TABLE role_set_role (
    role_set INTEGER NOT NULL,
    role     INTEGER NOT NULL,
    PRIMARY KEY (role_set, role)
) WITHOUT ROWID;
INSERT INTO "role_set_role" VALUES(1,1);
INSERT INTO "role_set_role" VALUES(1,2);
INSERT INTO "role_set_role" VALUES(1,3);
INSERT INTO "role_set_role" VALUES(2,1);
INSERT INTO "role_set_role" VALUES(2,2);
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
, proven INTEGER NOT NULL DEFAULT 0);
INSERT INTO "source" VALUES(1,'acme',1,'file',1795740769,1795740769,1795740769,NULL,'[{"scope":"users","count":3},{"scope":"groups","count":3},{"scope":"roles","count":0},{"scope":"memberships","count":3}]','029b9fc6e22704dd73bd047ed9a108c26d52e4629f39d90fd7b1b3a4cb49d123',0,4,3,7);
INSERT INTO "source" VALUES(2,'local',1,'local',1795740769,1795740769,1795740769,NULL,'[{"scope":"users","count":0}]','55a5785a8263abb7c04175a66bc3f749bfeb60a2783c5a2852ffe8e934dfa3fc',0,0,0,7);
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
CREATE TABLE token_role (
    token INTEGER NOT NULL,
    role  INTEGER NOT NULL,
    PRIMARY KEY (token, role)
) WITHOUT ROWID;
CREATE TABLE user (
    id          INTEGER PRIMARY KEY,
    username    TEXT    NOT NULL,
    email       TEXT    NOT NULL,
    status      INTEGER NOT NULL, -- 0 enabled, 1 disabled, 2 missing, 3 deprovisioned
    since       INTEGER,
    disabled_by TEXT,
    role_set    INTEGER NOT NULL
, made INTEGER NOT NULL DEFAULT 0);
INSERT INTO "user" VALUES(0,'ada','ada@acme.example',0,NULL,NULL,2,1);
INSERT INTO "user" VALUES(1,'ben','ben@acme.example',0,NULL,NULL,1,1);
INSERT INTO "user" VALUES(2,'cleo','cleo@acme.example',0,NULL,NULL,2,1);
INSERT INTO "user" VALUES(3,'dan','dan@acme.example',0,NULL,NULL,2,1);
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
CREATE INDEX user_username ON user (username, status);
CREATE INDEX link_ext ON link (ext);
CREATE INDEX history_rename ON history (user, num) WHERE kind = 4;
CREATE INDEX mirror_user_ext ON mirror_user (ext);
CREATE INDEX mirror_user_name ON mirror_user (username COLLATE NOCASE);
CREATE INDEX mirror_user_odd ON mirror_user (id) WHERE username GLOB '*[^ -~]*';
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
CREATE VIEW gateway_role_policy AS
SELECT r.name AS role, p.position, p.effect, p.action, p.resource
  FROM role_policy p
  JOIN role r ON r.num = p.role;
CREATE VIEW gateway_user_link AS
SELECT s.name AS source, l.ext AS external_id, u.username
  FROM link l
  JOIN link_source s ON s.num = l.source
  JOIN user u ON u.id = l.user
 WHERE u.status <> 3 AND (l.claim IS NULL OR l.claim = u.username);
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
CREATE VIEW gateway_token AS
SELECT u.username,
       t.name,
       strftime('%Y-%m-%dT%H:%M:%SZ', t.expires_at, 'unixepoch') AS expires_at,
       s.id AS role_set
  FROM token t
  JOIN user u ON u.id = t.user
  JOIN role_set s ON s.num = t.role_set
 WHERE u.status <> 3;
CREATE INDEX local_grant_past_user ON local_grant_past (user);
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
COMMIT;
