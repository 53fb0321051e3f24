//! The Keycloak source against a fake that answers byte for byte like 26.7.3, for faults that a
//! real server does not commit on demand, and for counting calls.

#![cfg(test)]

mod support;

#[path = "keycloak_fake/organizations.rs"]
mod organizations;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idpsyncd::directory::{Completeness, Enabled, Snapshot};
use idpsyncd::source::SourceError;
use organizations::Org;
use serde_json::{Value, json};
use support::kc_snapshot::{Everything, Facts, Source_, config, facts, source, try_read};
use support::skip;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const SECRET: &str = "hunter2";
/// A failing statement, as `GET` of a list answers it.
const EMPTY: &str = "[]";
/// A failing statement, as a count answers it.
const SERVER_ERROR: &str = r#"{"error":"unknown_error","error_description":"For more on this error consult the server log."}"#;

/// What the fake knows and how it misbehaves.
#[derive(Default)]
struct Realm {
    users: Vec<Value>,
    /// Ids of those whom the database holds to be disabled.
    disabled: Vec<String>,
    /// Added to what `/users/count` says, one a call.
    count_offsets: Vec<i64>,
    /// Group or role name to user ids.
    members: BTreeMap<&'static str, Vec<String>>,
    federations: Vec<Value>,
    mappers: Vec<Value>,
    rights: Vec<&'static str>,
    /// Path below the realm to answers: the first for the first call, the last for ever. None: as
    /// if nothing were wrong.
    faults: BTreeMap<String, Vec<Option<ResponseTemplate>>>,
    /// `GET path?query` of each admin call; `POST token`.
    log: Vec<String>,
    /// Seconds a token lives.
    life: u64,
    /// So many calls are answered 401.
    unauthorized: usize,
    /// What the token says instead of `sub` and the rights.
    claims: Option<Value>,
    /// The organizations; none: the feature is off.
    organizations: Option<Vec<Org>>,
    /// Who leaves (the list at this path, or the realm for `users`) once its first page is read.
    leaves: Option<(&'static str, &'static str)>,
}

struct Fake {
    server: MockServer,
    realm: Arc<Mutex<Realm>>,
    // Dropped last: the server's task runs on it.
    _runtime: tokio::runtime::Runtime,
}

struct Answer(Arc<Mutex<Realm>>);

fn user(id: &str, enabled: bool, federation: &str) -> Value {
    let mut user = json!({"id": id, "username": format!("u{id}"), "enabled": enabled,
        "emailVerified": false, "createdTimestamp": 1795468148333u64, "access": {"manage": true}});
    if !federation.is_empty() {
        user["federationLink"] = json!(federation);
    }
    user
}

fn role(name: &str, composite: bool, client: &str) -> Value {
    json!({"id": format!("id-{client}-{name}"), "name": name, "composite": composite,
        "clientRole": !client.is_empty(), "containerId": if client.is_empty() { "r" } else { client }})
}

impl Respond for Answer {
    #[expect(clippy::too_many_lines, reason = "each request of the server, one after the other")]
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut realm = self.0.lock().unwrap();
        let path = request.url.path().to_owned();
        let query = request.url.query().unwrap_or_default().to_owned();
        let json = |value: Value| ResponseTemplate::new(200).set_body_json(value);
        if path == "/realms/r/protocol/openid-connect/token" {
            realm.log.push("POST token".to_owned());
            let claims = realm.claims.clone().unwrap_or_else(|| {
                json!({"sub": "reader", "realm_access": {"roles": []},
                    "resource_access": {"realm-management": {"roles": realm.rights}}})
            });
            let number = realm.log.len();
            let token = format!("eyJ.{}.{number}", base64url(claims.to_string().as_bytes()));
            return json(json!({"access_token": token, "expires_in": realm.life,
                "refresh_expires_in": 0, "token_type": "Bearer", "not-before-policy": 0,
                "scope": "email profile"}));
        }
        let Some(below) = path.strip_prefix("/admin/realms/r/") else {
            return ResponseTemplate::new(404)
                .set_body_string(r#"{"error":"Unable to find matching target resource method"}"#);
        };
        let call = if query.is_empty() { below.to_owned() } else { format!("{below}?{query}") };
        realm.log.push(format!("GET {call}"));
        if realm.unauthorized > 0 {
            realm.unauthorized -= 1;
            return ResponseTemplate::new(401)
                .set_body_string(r#"{"error":"HTTP 401 Unauthorized"}"#);
        }
        let faulty = realm.faults.keys().find(|it| call.starts_with(it.as_str())).cloned();
        if let Some(answers) = faulty.and_then(|key| realm.faults.get_mut(&key)) {
            let answer = answers[0].clone();
            if answers.len() > 1 {
                answers.remove(0);
            }
            if let Some(answer) = answer {
                return answer;
            }
        }
        // A page of a list, as `first` and `max` ask for it.
        let page = |list: Value| {
            let asked = |name: &str| {
                let value = request.url.query_pairs().find(|(key, _)| key == name)?.1.into_owned();
                value.parse::<i64>().ok()
            };
            let first = usize::try_from(asked("first").unwrap_or(0)).unwrap();
            let max = asked("max").and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
            let rows = list.as_array().unwrap().iter().skip(first).take(max).cloned();
            ResponseTemplate::new(200).set_body_json(rows.collect::<Vec<_>>())
        };
        let people = |realm: &Realm, name: &str| {
            let ids = realm.members.get(name).cloned().unwrap_or_default();
            let by_id = |id: &String| {
                realm
                    .users
                    .iter()
                    .find(|it| it["id"] == json!(id))
                    .cloned()
                    .unwrap_or_else(|| user(id, true, ""))
            };
            Value::from(ids.iter().map(by_id).collect::<Vec<_>>())
        };
        let parts: Vec<&str> = below.split('/').collect();
        let group = |id: &str, name: &str, parent: Option<&str>, roles: &[&str]| {
            let mut group = json!({"id": id, "name": name, "path": "/x", "subGroups": []});
            if let Some(parent) = parent {
                group["parentId"] = json!(parent);
            }
            if query.contains("briefRepresentation=false") {
                group["realmRoles"] = json!(roles);
                group["clientRoles"] = json!({});
            }
            group
        };
        let answer = match parts.as_slice() {
            ["organizations", rest @ ..] => match organizations::answer(&mut realm, rest, &query) {
                Ok(list) if list.is_array() => page(list),
                Ok(other) => json(other),
                Err(body) => ResponseTemplate::new(404).set_body_string(body),
            },
            ["clients", "uuid-own", "service-account-user"] => json(json!({"id": "reader"})),
            ["components"] if query.contains("parent=") => json(json!(realm.mappers)),
            ["components"] => json(json!(realm.federations)),
            ["clients"] => json(json!([
                {"id": "uuid-app", "clientId": "app", "secret": "app-secret"},
                {"id": "uuid-rm", "clientId": "realm-management"},
                {"id": "uuid-own", "clientId": "idpsyncd"},
            ])),
            ["clients", "uuid-own", "roles"] => json(json!([])),
            ["clients", "uuid-app", "roles"] => json(json!([role("op", false, "uuid-app")])),
            ["clients", "uuid-rm", "roles"] => json(json!([role("view-users", false, "uuid-rm")])),
            ["clients", _, "roles", name, "users"] => page(people(&realm, name)),
            ["roles"] => json(json!([role("admin", true, ""), role("default-roles-r", false, "")])),
            ["roles", "admin", "composites"] => json(json!([role("op", false, "uuid-app")])),
            ["roles", name, "users"] => page(people(&realm, name)),
            ["groups", "count"] => json(json!({"count": 3})),
            ["groups"] if query.contains("search=") => json(json!([
                group("g1", "team", None, &[]),
                group("g2", "sub", Some("g1"), &[]),
                group("g3", "aside", None, &[]),
            ])),
            ["groups"] if query.contains("first=0") => json(json!([
                group("g1", "team", None, &["admin"]),
                group("g3", "aside", None, &[])
            ])),
            ["groups"] => json(json!([])),
            ["groups", "g1", "children"] => json(json!([group("g2", "sub", Some("g1"), &[])])),
            ["groups", id, "members"] => {
                let id: &'static str = match *id {
                    "g1" => "g1",
                    "g2" => "g2",
                    _ => "g3",
                };
                page(people(&realm, id))
            }
            ["users", "count"] => {
                let offset = match realm.count_offsets.len() {
                    0 => 0,
                    _ => realm.count_offsets.remove(0),
                };
                json(json!(realm.users.len() as i64 + offset))
            }
            ["users"] if query.contains("enabled=false") => {
                page(json!(realm.disabled.iter().map(|id| user(id, false, "")).collect::<Vec<_>>()))
            }
            ["users"] => page(json!(realm.users)),
            ["users", _, "groups", "count"] => json(json!({"count": 1})),
            ["users", "reader", "role-mappings", ..] => json(
                realm
                    .rights
                    .iter()
                    .map(|name| role(name, false, "uuid-rm"))
                    .collect::<Vec<_>>()
                    .into(),
            ),
            ["users", _] => {
                ResponseTemplate::new(404).set_body_string(r#"{"error":"User not found"}"#)
            }
            _ => panic!("the fake does not know {call}"),
        };
        if let Some((list, who)) = realm.leaves
            && below == list
            && query.contains("first=0")
        {
            realm.leaves = None;
            match parts.as_slice() {
                ["groups", id, "members"] => {
                    realm.members.get_mut(*id).unwrap().retain(|it| it != who)
                }
                _ => {
                    realm.users.retain(|it| it["id"] != json!(who));
                    realm.members.values_mut().for_each(|list| list.retain(|it| it != who));
                }
            }
        }
        answer
    }
}

fn base64url(bytes: &[u8]) -> String {
    let table: Vec<char> =
        ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).collect();
    let bits: Vec<u8> = bytes.iter().flat_map(|b| (0..8).rev().map(move |n| b >> n & 1)).collect();
    let six = |bits: &[u8]| (0..6).fold(0, |n, i| n << 1 | usize::from(*bits.get(i).unwrap_or(&0)));
    bits.chunks(6).map(|bits| table[six(bits)]).collect()
}

impl Fake {
    /// A realm of three users; `ann` (1) in /team, 2 in /team/sub, 3 in /aside and holding `op`.
    fn new() -> Fake {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let realm = Arc::new(Mutex::new(Realm {
            users: vec![user("1", true, ""), user("2", true, ""), user("3", false, "")],
            disabled: ids(&["3"]),
            members: [
                ("g1", ids(&["1"])),
                ("g2", ids(&["2"])),
                ("g3", ids(&["3"])),
                ("admin", ids(&["2"])),
                ("op", ids(&["3"])),
                ("view-users", ids(&["1"])),
                ("default-roles-r", ids(&["1", "2", "3"])),
            ]
            .into(),
            rights: vec![
                "view-users",
                "view-realm",
                "view-clients",
                "query-users",
                "view-organizations",
            ],
            organizations: Some(Vec::new()),
            life: 300,
            ..Realm::default()
        }));
        let server = runtime.block_on(async {
            let server = MockServer::start().await;
            Mock::given(any()).respond_with(Answer(Arc::clone(&realm))).mount(&server).await;
            server
        });
        Fake { server, realm, _runtime: runtime }
    }

    fn source(&self) -> Source_ {
        let mut config = config(&self.server.uri(), "r");
        config.clients = vec!["app".to_owned()];
        config.concurrency = 4;
        source(&config, SECRET)
    }

    fn set(&self, change: impl FnOnce(&mut Realm)) {
        change(&mut self.realm.lock().unwrap());
    }

    fn fault(&self, path: &str, answers: &[(u16, &str)]) {
        let answers = answers
            .iter()
            .map(|(status, body)| Some(ResponseTemplate::new(*status).set_body_string(*body)));
        self.fault_with(path, answers.collect());
    }

    fn fault_with(&self, path: &str, answers: Vec<Option<ResponseTemplate>>) {
        self.set(|realm| {
            realm.faults.insert(path.to_owned(), answers);
        });
    }

    fn try_read(&self) -> Result<Snapshot, SourceError> {
        try_read(&self.source(), Arc::new(Everything::default()))
    }

    fn read(&self) -> Facts {
        facts(&self.try_read().unwrap())
    }

    /// How many calls began like this since the last time.
    fn calls(&self, start: &str) -> usize {
        self.realm.lock().unwrap().log.iter().filter(|it| it.starts_with(start)).count()
    }

    /// Makes users 1 and 2 people of a federation with a live group mapper.
    fn federate(&self) {
        self.set(|realm| {
            realm.users = vec![user("1", true, "L"), user("2", true, "L"), user("3", false, "")];
            realm.federations = vec![json!({"id": "L", "name": "corp", "providerId": "ldap",
                "config": {"enabled": ["true"], "importEnabled": ["true"]}})];
            realm.mappers = vec![json!({"id": "m", "providerId": "group-ldap-mapper",
                "config": {"mode": ["READ_ONLY"], "groups.path": ["/"]}})];
        });
    }
}

fn is_partial(completeness: &Completeness) -> bool {
    matches!(completeness, Completeness::Partial(_))
}

#[test]
fn a_read_makes_as_many_calls_as_there_are_scopes_and_none_a_user() {
    let fake = Fake::new();
    let facts = fake.read();
    assert!(facts.reading_complete, "{:?}", facts.scopes);
    let mut log = fake.realm.lock().unwrap().log.clone();
    log.sort();
    let brief = "briefRepresentation=true&max=-1";
    let full = "briefRepresentation=false&subGroupsCount=false";
    let mut expected = vec![
        "POST token".to_owned(),
        "GET components?type=org.keycloak.storage.UserStorageProvider".to_owned(),
        "GET clients".to_owned(),
        "GET clients/uuid-app/roles".to_owned(),
        "GET clients/uuid-rm/roles".to_owned(),
        "GET clients/uuid-own/roles".to_owned(),
        "GET organizations/count".to_owned(),
        "GET roles".to_owned(),
        "GET roles/admin/composites".to_owned(),
        "GET groups?search=*&populateHierarchy=false&max=-1&briefRepresentation=true&subGroupsCount=false".to_owned(),
        format!("GET groups?first=0&max=100&{full}"),
        format!("GET groups?first=2&max=100&{full}"),
        format!("GET groups/g1/children?max=-1&{full}"),
        "GET groups/count".to_owned(),
        "GET users/count".to_owned(),
        format!("GET users?{brief}"),
        "GET users/count".to_owned(),
        format!("GET groups/g1/members?{brief}"),
        format!("GET groups/g2/members?{brief}"),
        format!("GET groups/g3/members?{brief}"),
        format!("GET roles/admin/users?{brief}"),
        format!("GET roles/default-roles-r/users?{brief}"),
        format!("GET clients/uuid-app/roles/op/users?{brief}"),
        format!("GET clients/uuid-rm/roles/view-users/users?{brief}"),
        "GET users/reader/role-mappings/clients/uuid-rm/composite".to_owned(),
    ];
    expected.sort();
    let log: Vec<_> = log.iter().map(|it| it.replace("%2A", "*")).collect();
    assert_eq!(log, expected);

    let calls = log.len();
    fake.set(|realm| {
        realm.log.clear();
        for n in 10..1000 {
            realm.users.push(user(&n.to_string(), true, ""));
            realm.members.get_mut("g2").unwrap().push(n.to_string());
        }
    });
    assert!(fake.read().reading_complete);
    assert_eq!(fake.calls(""), calls, "a thousand users cost no call more");
}

impl Fake {
    /// Makes a thousand people more, all of them in /team/sub.
    fn grow(&self) {
        self.set(|realm| {
            for n in 1000..2000 {
                realm.users.push(user(&n.to_string(), true, ""));
                realm.members.get_mut("g2").unwrap().push(n.to_string());
            }
        });
    }
}

#[test]
fn people_are_read_in_pages_unless_organizations_are_proved_absent() {
    let whole = Fake::new();
    whole.grow();
    let whole = whole.try_read().unwrap().directory.digest();
    let rights = ["view-users", "view-realm", "view-clients"];
    let more = [rights.as_slice(), &["view-organizations"]].concat();
    // One organization; the feature off, which hides those that there are; no right to see any.
    let one = || vec![Org::of("one", &[])];
    for (organizations, rights) in
        [(Some(one()), &more), (None, &more), (Some(Vec::new()), &rights.to_vec())]
    {
        let fake = Fake::new();
        fake.grow();
        fake.set(|realm| {
            realm.organizations = organizations;
            realm.rights = rights.clone();
        });
        let snapshot = fake.try_read().unwrap();
        assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
        assert_eq!(snapshot.directory.digest(), whole, "the same, however it was read");
        let log = fake.realm.lock().unwrap().log.clone();
        let lists = |it: &&String| {
            let path = it.split('?').next().unwrap();
            path == "GET users" || path.ends_with("/members") || path.ends_with("/users")
        };
        for call in log.iter().filter(lists) {
            let max = call.split("max=").nth(1).and_then(|max| max.parse::<u32>().ok());
            assert!(max.is_some_and(|max| max <= 1000), "{call}");
        }
        assert!(fake.calls("GET users?") > 2 && fake.calls("GET groups/g2/members") > 1);
        assert_eq!(fake.calls("GET groups/g1/members"), 1, "a short list is one call");
    }
}

#[test]
fn someone_who_goes_while_pages_are_read_hides_nobody_else() {
    for (list, who) in [("users", "1000"), ("groups/g2/members", "1000")] {
        let fake = Fake::new();
        fake.grow();
        fake.set(|realm| {
            realm.organizations = Some(vec![Org::of("one", &[])]);
            realm.leaves = Some((list, who));
        });
        let snapshot = fake.try_read().unwrap();
        assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
        let facts = facts(&snapshot);
        let members = facts.direct(idpsyncd::directory::Kind::Group, "/team/sub");
        assert_eq!(members.len(), 1000, "{list}");
        assert!(!members.contains(&"u1000".to_owned()) && members.contains(&"u1100".to_owned()));
    }
}

#[test]
fn rights_that_the_token_does_not_show_are_looked_up() {
    let realm_only = json!({"sub": "reader", "realm_access": {"roles": ["x"]}});
    for claims in [
        realm_only.clone(),
        json!({"sub": "reader"}),
        json!({}),
        json!({"sub": "reader", "resource_access": {"account": {"roles": ["view-profile"]}}}),
        json!({"sub": "reader", "resource_access": {"roles": ["view-users"]}}),
    ] {
        let fake = Fake::new();
        fake.set(|realm| realm.claims = Some(claims.clone()));
        let snapshot = fake.try_read().unwrap();
        assert!(snapshot.is_complete(), "{claims}");
        assert_eq!(snapshot.directory.digest(), Fake::new().try_read().unwrap().directory.digest());
        fake.set(|realm| realm.rights = vec!["view-users", "view-clients"]);
        let error = fake.try_read().unwrap_err();
        assert!(error.message.contains("lacks the right `view-realm`"), "{claims}: {error}");
    }
}

#[test]
fn a_token_is_asked_for_below_url_and_an_error_names_the_host() {
    let fake = Fake::new();
    assert!(fake.read().reading_complete, "the fake has no discovery page");
    let mut config = config("http://127.0.0.1:9", "r");
    config.timeout = Duration::from_secs(1);
    let error = try_read(&source(&config, SECRET), Arc::new(Everything::default())).unwrap_err();
    assert!(error.transient);
    let endpoint = "`http://127.0.0.1:9/realms/r/protocol/openid-connect/token`";
    assert!(error.message.contains(endpoint), "{error}");
}

#[test]
fn one_token_serves_calls_made_at_once_and_the_next_read() {
    let fake = Fake::new();
    let source = fake.source();
    for _ in 0..2 {
        try_read(&source, Arc::new(Everything::default())).unwrap();
    }
    assert_eq!(fake.calls("POST token"), 1);
}

#[test]
fn a_token_that_is_refused_is_renewed_once_and_the_call_made_once_more() {
    let fake = Fake::new();
    fake.set(|realm| realm.unauthorized = 1);
    assert!(fake.read().reading_complete);
    assert_eq!(fake.calls("POST token"), 2);

    let fake = Fake::new();
    fake.set(|realm| realm.unauthorized = 1000);
    let error = fake.try_read().unwrap_err();
    assert!(error.message.contains("401"), "{error}");
    assert!(error.message.contains("still enabled"), "{error}");
    assert_eq!(fake.calls("POST token"), 2, "one renewal, no storm");
    assert_eq!(fake.calls("GET"), 2);
}

#[test]
fn what_is_transient_is_tried_again() {
    let fake = Fake::new();
    let later = ResponseTemplate::new(503)
        .set_body_string("Bootstrap in progress. Retry in 1 seconds.")
        .insert_header("Retry-After", "1");
    let busy = ResponseTemplate::new(503);
    let failing = ResponseTemplate::new(500).set_body_string(SERVER_ERROR);
    fake.fault_with("roles", vec![Some(later), None]);
    fake.fault_with("groups/g1/members", vec![Some(busy.clone()), Some(busy), None]);
    fake.fault_with("users/count", vec![Some(failing), None]);
    let begun = std::time::Instant::now();
    assert!(fake.read().reading_complete);
    assert!(begun.elapsed() >= Duration::from_secs(1), "`Retry-After: 1` was waited for");
    assert_eq!(fake.calls("GET groups/g1/members"), 3);
}

#[test]
fn what_is_not_transient_is_asked_once_and_is_unknown() {
    for (status, body) in [
        (400, r#"{"error":"Cannot parse the JSON"}"#),
        (404, r#"{"error":"Could not find group by id"}"#),
        (414, ""),
        (302, ""),
    ] {
        let fake = Fake::new();
        fake.fault("groups/g2/members", &[(status, body)]);
        let facts = fake.read();
        assert!(is_partial(&facts.members_are("/team/sub")), "{status}");
        assert_eq!(facts.members_are("/team"), Completeness::Complete);
        assert_eq!(fake.calls("GET groups/g2/members"), 1, "{status}");
    }
}

#[test]
fn a_right_that_is_lost_in_mid_read_ends_it_and_is_named() {
    let fake = Fake::new();
    fake.fault("groups/g2/members", &[(403, r#"{"error":"HTTP 403 Forbidden"}"#)]);
    let error = fake.try_read().unwrap_err();
    assert!(!error.transient);
    for part in ["403", "`view-users`", "client `realm-management`"] {
        assert!(error.message.contains(part), "{error}");
    }
    // Where the `query-` roles are held besides, nothing is refused: lists are just short.
    let fake = Fake::new();
    let rows =
        |names: &[&str]| json!(names.iter().map(|it| role(it, false, "x")).collect::<Vec<_>>());
    let left = rows(&["view-users", "view-realm"]).to_string();
    fake.fault("users/reader/role-mappings", &[(200, &left)]);
    let error = fake.try_read().unwrap_err();
    assert!(error.message.contains("lacks the right `view-clients`"), "{error}");
}

#[test]
fn rights_missing_in_the_token_end_the_read_before_it_begins() {
    let fake = Fake::new();
    fake.set(|realm| realm.rights = vec!["query-users"]);
    let error = fake.try_read().unwrap_err();
    assert!(error.message.contains("`view-users`, `view-realm`, `view-clients`"), "{error}");
    assert_eq!(fake.calls("GET"), 0);
}

#[test]
fn a_list_that_a_failing_statement_emptied_takes_nothing_away() {
    // Case 1: the table cannot be read for the whole read. Lists are `200 []`, counts 500.
    let fake = Fake::new();
    for id in ["g1", "g2", "g3"] {
        fake.fault(&format!("groups/{id}/members"), &[(200, EMPTY)]);
    }
    fake.fault("users/2/groups/count", &[(500, SERVER_ERROR)]);
    let facts = fake.read();
    for group in ["/team", "/team/sub", "/aside"] {
        assert!(is_partial(&facts.members_are(group)), "{group}");
    }
    assert_eq!(facts.members_are("admin"), Completeness::Complete, "another table");

    // The same for the table of roles: not even the default role has holders.
    let fake = Fake::new();
    for path in [
        "roles/admin/users",
        "roles/default-roles-r/users",
        "clients/uuid-app/roles/op/users",
        "clients/uuid-rm/roles/view-users/users",
    ] {
        fake.fault(path, &[(200, EMPTY)]);
    }
    let facts = fake.read();
    assert!(is_partial(&facts.members_are("admin")) && is_partial(&facts.members_are("app/op")));

    // One statement fails once.
    let fake = Fake::new();
    let empty = ResponseTemplate::new(200).set_body_string(EMPTY);
    fake.fault_with("groups/g1/members", vec![Some(empty), None]);
    let facts = fake.read();
    assert!(facts.reading_complete);
    assert_eq!(facts.groups_of("u1"), ["/team"]);
}

#[test]
fn a_group_that_is_really_empty_is_complete() {
    let fake = Fake::new();
    fake.set(|realm| {
        realm.members.insert("g2", vec![]);
    });
    assert!(fake.read().reading_complete);
    // All of them: the database answers for someone's groups, so they are believed.
    fake.set(|realm| {
        for id in ["g1", "g2", "g3"] {
            realm.members.insert(id, vec![]);
        }
    });
    assert!(fake.read().reading_complete);
}

/// As where it was made from a file that says nothing of the default role.
#[test]
fn a_realm_where_nobody_holds_the_default_role_is_complete_by_the_readers_own_rights() {
    let fake = Fake::new();
    fake.set(|realm| {
        for role in ["admin", "op", "default-roles-r"] {
            realm.members.insert(role, vec![]);
        }
        realm.members.insert("view-users", vec!["1".to_owned()]);
    });
    assert!(fake.read().reading_complete);
    fake.set(|realm| drop(realm.members.insert("view-users", vec![])));
    assert!(is_partial(&fake.read().members_are("admin")), "nobody is known to hold anything");
}

#[test]
fn users_that_do_not_match_their_count_are_partial() {
    let fake = Fake::new();
    fake.fault("users?brief", &[(200, EMPTY)]);
    let facts = fake.read();
    assert!(is_partial(&facts.users_are), "200 [] beside a true count");
    assert_eq!(fake.calls("GET users?brief"), 3, "asked again, with an end");
    assert!(is_partial(&facts.members_are("/team")), "it lists people who are not known");
}

#[test]
fn users_who_come_and_go_while_they_are_counted_are_read_again() {
    let fake = Fake::new();
    fake.set(|realm| realm.count_offsets = vec![-1, 0, 0]);
    let facts = fake.read();
    assert!(facts.reading_complete);
    assert_eq!(fake.calls("GET users?brief"), 2);
}

#[test]
fn a_body_that_is_cut_off_or_has_an_error_glued_on_is_no_answer() {
    for body in [
        r#"[{"id":"1","username":"u1","enabled":true}{"error":"unknown_error"}"#,
        r#"[{"id":"1","username":"u1","enabled":true}]{"error":"unknown_error"}"#,
        r#"[{"id":"1","username":"u1","#,
        "",
        "<html>Bad gateway</html>",
    ] {
        let fake = Fake::new();
        fake.fault("groups/g1/members", &[(200, body)]);
        let facts = fake.read();
        assert!(is_partial(&facts.members_are("/team")), "{body}");
        let fake = Fake::new();
        fake.fault("users?brief", &[(200, body)]);
        assert!(fake.try_read().unwrap_err().transient, "{body}");
    }
}

#[test]
fn people_who_look_disabled_and_are_not_in_the_list_of_the_disabled_are_unknown() {
    // Case 2, and the probe answers again by the time it is asked: the contradiction is enough.
    let fake = Fake::new();
    fake.federate();
    fake.set(|realm| realm.users[0]["enabled"] = json!(false));
    let facts = fake.read();
    assert_eq!(facts.users["u1"].enabled, Enabled::Unknown);
    assert_eq!(facts.users["u3"].enabled, Enabled::No, "disabled in the database");
    assert!(is_partial(&facts.users_are));
    assert!(is_partial(&facts.members_are("/aside")), "fed by the same directory");
}

#[test]
fn a_directory_that_falls_silent_while_its_people_look_well_takes_nothing_away() {
    // Case 3: everyone cached and enabled, groups `200 []` but for a local member.
    let fake = Fake::new();
    fake.federate();
    fake.set(|realm| {
        realm.members.insert("g2", vec![]);
        realm.members.insert("g3", vec![]);
    });
    fake.fault("users/f%3AL%3A", &[(500, SERVER_ERROR)]);
    let facts = fake.read();
    for group in ["/team", "/team/sub", "/aside"] {
        assert!(is_partial(&facts.members_are(group)), "{group}");
    }
    assert!(is_partial(&facts.users_are));

    // It falls silent in mid-read: the first question was answered.
    let fake = Fake::new();
    fake.federate();
    fake.fault("users/f%3AL%3A", &[(404, r#"{"error":"User not found"}"#), (500, SERVER_ERROR)]);
    assert!(is_partial(&fake.read().members_are("/team")));
}

#[test]
fn all_groups_of_a_federation_empty_at_once_is_an_outage() {
    let fake = Fake::new();
    fake.federate();
    fake.set(|realm| {
        for id in ["g1", "g2"] {
            realm.members.insert(id, vec![]);
        }
    });
    let facts = fake.read();
    assert!(is_partial(&facts.members_are("/team")));
    assert!(is_partial(&facts.members_are("/aside")), "its local members prove nothing");
}

#[test]
fn a_healthy_federation_is_read_whole() {
    let fake = Fake::new();
    fake.federate();
    let facts = fake.read();
    assert!(facts.reading_complete, "{:?}", facts.scopes);
    assert_eq!(fake.calls("GET users/f%3AL%3A"), 2, "asked before and after");
}

#[test]
fn a_member_who_comes_twice_is_one() {
    let fake = Fake::new();
    fake.set(|realm| {
        realm.members.insert("g1", vec!["1".into(), "1".into(), "2".into()]);
    });
    let facts = fake.read();
    assert!(facts.reading_complete);
    assert_eq!(facts.direct(idpsyncd::directory::Kind::Group, "/team"), ["u1", "u2"]);
}

#[test]
fn a_member_who_is_not_among_the_users_is_told_and_makes_the_list_partial() {
    let fake = Fake::new();
    fake.set(|realm| realm.members.get_mut("g1").unwrap().push("77".into()));
    let snapshot = fake.try_read().unwrap();
    assert!(is_partial(&facts(&snapshot).members_are("/team")));
    assert!(
        snapshot.warnings().iter().any(|it| it.starts_with("1 memberships")),
        "{:?}",
        snapshot.warnings()
    );
}

#[test]
fn a_server_that_fails_at_everything_ends_the_read() {
    let fake = Fake::new();
    for path in [
        "groups/g1/members",
        "groups/g2/members",
        "groups/g3/members",
        "roles/",
        "clients/uuid-app/roles/",
        "clients/uuid-rm/roles/",
    ] {
        fake.fault(path, &[(500, SERVER_ERROR)]);
    }
    let error = fake.try_read().unwrap_err();
    assert!(error.transient);
    assert!(error.message.contains("500"), "{error}");
}

#[test]
fn no_error_shows_the_secret_or_a_token_even_where_the_server_echoes_them() {
    let fake = Fake::new();
    let echo = format!("you sent eyJ.{}.2 with {SECRET}", "x".repeat(60));
    fake.fault("clients", &[(409, &echo)]);
    let error = fake.try_read().unwrap_err();
    assert!(error.message.contains("you sent"), "{error}");
    assert!(!error.message.contains("eyJ") && !error.message.contains(SECRET), "{error}");
}

#[test]
fn a_redirect_is_not_followed_but_told() {
    let fake = Fake::new();
    let away =
        ResponseTemplate::new(302).insert_header("Location", "https://elsewhere.example/x?y=z");
    fake.fault_with("clients", vec![Some(away)]);
    let error = fake.try_read().unwrap_err();
    assert!(error.message.contains("a redirect to `https://elsewhere.example/x`"), "{error}");
}

#[test]
fn a_read_ends_when_its_time_is_up() {
    let fake = Fake::new();
    let slow = ResponseTemplate::new(200).set_body_string(EMPTY).set_delay(Duration::from_secs(30));
    fake.fault_with("groups/g1/members", vec![Some(slow)]);
    let mut config = config(&fake.server.uri(), "r");
    config.read_timeout = Duration::from_millis(500);
    let error = try_read(&source(&config, SECRET), Arc::new(Everything::default())).unwrap_err();
    assert!(error.transient && error.message.contains("`read_timeout`"), "{error}");

    // One list that takes too long is one partial scope, and is not asked for again.
    config.read_timeout = Duration::from_secs(60);
    config.timeout = Duration::from_millis(500);
    fake.set(|realm| realm.log.clear());
    let snapshot = try_read(&source(&config, SECRET), Arc::new(Everything::default())).unwrap();
    assert!(is_partial(&facts(&snapshot).members_are("/team")));
    assert_eq!(fake.calls("GET groups/g1/members"), 1);
}

#[test]
fn a_configured_client_that_is_not_there_makes_the_roles_partial() {
    let fake = Fake::new();
    let mut config = config(&fake.server.uri(), "r");
    config.clients = vec!["app".to_owned(), "ap".to_owned()];
    let snapshot = try_read(&source(&config, SECRET), Arc::new(Everything::default())).unwrap();
    let Completeness::Partial(reason) = &snapshot.roles else { panic!("{:?}", snapshot.roles) };
    assert!(reason.contains("`ap`") && reason.contains("did you mean `app`?"), "{reason}");
}

#[test]
fn a_composite_that_cannot_be_read_leaves_what_it_contains_unknown() {
    for (status, body) in [(400, "{}"), (200, EMPTY)] {
        let fake = Fake::new();
        fake.fault("roles/admin/composites", &[(status, body)]);
        let snapshot = fake.try_read().unwrap();
        assert!(!snapshot.is_complete(), "{status}");
        let place = snapshot
            .directory
            .refs
            .iter()
            .position(|it| snapshot.directory.text(it.identity) == "admin");
        assert!(is_partial(&snapshot.implies[place.unwrap()]), "{status}");
    }
}

#[test]
fn a_certificate_that_nobody_trusts_is_told_and_a_ca_file_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (key, cert) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=the Keycloak of a test",
            "-days",
            "2",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        skip::skip(&skip::test(), "openssl is not installed");
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = std::process::Command::new("openssl")
        .args(["s_server", "-rev", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-cert"])
        .arg(&cert)
        .arg("-key")
        .arg(&key)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let say = |host: &str, ca: Option<&std::path::Path>| {
        let mut config = config(&format!("https://{host}:{port}"), "r");
        config.ca_file = ca.map(Into::into);
        try_read(&source(&config, SECRET), Arc::new(Everything::default())).unwrap_err().message
    };
    let untrusted = say("localhost", None);
    let trusted = say("localhost", Some(&cert));
    let misnamed = say("127.0.0.1", Some(&cert));
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(untrusted.contains("set `ca_file`"), "{untrusted}");
    assert!(trusted.contains("HTTP version"), "TLS works, it is no Keycloak: {trusted}");
    assert!(misnamed.contains("for another name"), "{misnamed}");
}
