//! Who is meant, which request a question is, and what is never a permit.

use serde_json::{Value, json};

use crate::kit::{ACTIONS, EVALUATION, Pdp, RESOURCES, SUBJECTS, asks};

/// People: name, id, address, whether enabled.
const PEOPLE: [(&str, &str, &str, bool); 7] = [
    ("ann", "0d2f7c1e-3a55-4b5c-8a61-0a4b1c7d9e01", "Ann@Example.org", true),
    ("bob", "ID-Bob", "bob@example.org", true),
    ("dan", "id-dan", "dan@example.org", false),
    ("émile", "id-emile", "emile@example.org", true),
    ("twin1", "id-t1", "twin@example.org", true),
    ("twin2", "id-t2", "Twin@example.org", true),
    ("zoe", "id-zoe", "", true),
];

fn realm() -> String {
    let users: Vec<Value> = PEOPLE
        .iter()
        .map(|(name, id, email, enabled)| {
            json!({"id": id, "username": name, "enabled": enabled, "email": email,
                "emailVerified": true, "groups": if *name == "zoe" { json!(["/root"]) } else { json!([]) }})
        })
        .collect();
    json!({"realm": "acme", "groups": [{"id": "g", "name": "root", "path": "/root"}],
        "roles": {}, "users": users})
    .to_string()
}

const CONFIG: &str = r#"
[store]
path = "store.db"
[[source]]
name = "acme"
kind = "file"
realm_export = "realm.json"
[roles.everyone]
everyone = true
external_roles = []
[[roles.everyone.policies]]
actions = ["doc:read", "route:GET", "doc:list"]
resources = ["doc/*", "route//todos/*"]
[[roles.everyone.policies]]
actions = ["home:open"]
resources = ["home/${self}"]
[[roles.everyone.policies]]
actions = ["session:end"]
[[roles.everyone.policies]]
effect = "Deny"
actions = ["doc:read"]
resources = ["doc/secret"]
[roles.root]
external_roles = ["root"]
[[roles.root.policies]]
actions = ["*:*"]
resources = ["*"]
[[mapping]]
group = "/root"
roles = ["root"]
[[catalog]]
actions = ["doc:read", "doc:list", "doc:scan"]
resources = ["doc/a", "doc/b", "doc/secret", "folder/x"]
[[catalog]]
actions = ["home:open"]
resources = ["home/ann", "home/bob"]
[gateway]
http = "127.0.0.1:{http}"
anonymous_role = "everyone"
provision = "lookup"
[gateway.authzen]
enabled = true
[[gateway.authzen.subject]]
type = "user"
id = "username"
[[gateway.authzen.subject]]
type = "identity"
id = "external_id"
source = "acme"
[[gateway.authzen.subject]]
type = "mail"
id = "email"
[[gateway.authzen.rule]]
action_name = "end"
action = "session:end"
resource = ""
[[gateway.authzen.rule]]
resource_type = "paper"
when = { "context.room" = 7, "subject.properties.badge.colour" = "red" }
action = "doc:{action.name}"
resource = "doc/{resource.id}"
[[gateway.authzen.rule]]
resource_type = "paper"
when = { "context.room" = 8.5 }
action = "doc:{action.name}"
resource = "doc/a"
"#;

fn pdp() -> Pdp {
    Pdp::of(CONFIG, &[("realm.json", &realm())])
}

fn of(kind: &str, id: &str) -> Value {
    let mut body = asks("", "read", "doc/a");
    body["subject"] = json!({"type": kind, "id": id});
    body
}

#[test]
fn a_subject_is_known_by_what_its_type_says() {
    let pdp = pdp();
    for (kind, id, expected) in [
        ("user", "ann", true),
        // Trap 6: usernames compare as usernames do,
        ("user", "ANN", true),
        ("user", "Émile", true),
        // and what merely looks like one is somebody else's word for it.
        ("user", "ａnn", false),
        ("user", " ann", false),
        ("user", "ann@example.org", false),
        ("user", "0d2f7c1e-3a55-4b5c-8a61-0a4b1c7d9e01", false),
        ("user", "nobody", false),
        ("user", "", false),
        ("user", "dan", false),
        // Ids compare exactly.
        ("identity", "0d2f7c1e-3a55-4b5c-8a61-0a4b1c7d9e01", true),
        ("identity", "0D2F7C1E-3A55-4B5C-8A61-0A4B1C7D9E01", false),
        ("identity", "ID-Bob", true),
        ("identity", "id-bob", false),
        ("identity", "bob", false),
        ("identity", "id-dan", false),
        ("mail", "ann@example.org", true),
        ("mail", "ANN@EXAMPLE.ORG", true),
        ("mail", "ann", false),
        ("mail", "", false),
        // Two people have it: nobody can tell who is meant.
        ("mail", "twin@example.org", false),
        // Trap 2.2 of types: unknown, another case, empty.
        ("User", "ann", false),
        ("group", "ann", false),
        ("", "ann", false),
    ] {
        assert_eq!(pdp.decide(&of(kind, id)), expected, "{kind} {id:?}");
    }
}

#[test]
fn a_search_finds_the_ids_of_the_type_that_is_asked_for() {
    let pdp = pdp();
    let search = |kind: &str, resource: &str| {
        let (of, id) = resource.split_once('/').unwrap();
        let body = json!({"subject": {"type": kind}, "action": {"name": if of == "home" {"open"} else {"read"}},
            "resource": {"type": of, "id": id}});
        let all = pdp.found(SUBJECTS, &body);
        let mut paged = body.clone();
        paged["page"] = json!({"limit": 2});
        assert_eq!(pdp.found(SUBJECTS, &paged), all, "{body}");
        all
    };
    assert_eq!(search("user", "doc/a"), ["ann", "bob", "twin1", "twin2", "zoe", "émile"]);
    assert_eq!(
        search("identity", "doc/a"),
        ["0d2f7c1e-3a55-4b5c-8a61-0a4b1c7d9e01", "ID-Bob", "id-emile", "id-t1", "id-t2", "id-zoe"]
    );
    assert_eq!(
        search("mail", "doc/a"),
        ["Ann@Example.org", "bob@example.org", "emile@example.org"]
    );
    // A Deny wins over the role of everything.
    assert_eq!(search("user", "doc/secret"), [""; 0]);
    // What is named after somebody is theirs, and of whoever may everything.
    assert_eq!(search("user", "home/ann"), ["ann", "zoe"]);
    assert_eq!(search("identity", "home/bob"), ["ID-Bob", "id-zoe"]);
    assert_eq!(search("mail", "home/ann"), ["Ann@Example.org"]);
    assert_eq!(search("user", "home/dan"), ["zoe"]);
    assert_eq!(search("user", "home/ANN"), ["zoe"]);
    let may = |id: &str| {
        let body = json!({"subject": {"type": "user", "id": id}, "action": {"name": "open"},
            "resource": {"type": "home"}});
        pdp.found(RESOURCES, &body)
    };
    assert_eq!(may("ann"), ["ann"]);
    assert_eq!(may("zoe"), ["ann", "bob"]);
    let does = |id: &str, resource: Value| {
        pdp.found(ACTIONS, &json!({"subject": {"type": "user", "id": id}, "resource": resource}))
    };
    assert_eq!(does("ann", json!({"type": "doc", "id": "a"})), ["list", "read"]);
    assert_eq!(does("ann", json!({"type": "doc", "id": "secret"})), ["list"]);
    assert_eq!(does("zoe", json!({"type": "doc", "id": "secret"})), ["list", "scan"]);
}

#[test]
fn what_cannot_be_expressed_is_never_a_permit() {
    let pdp = pdp();
    let ask = |kind: &str, name: &str, id: &str| {
        let body = json!({"subject": {"type": "user", "id": "zoe"}, "action": {"name": name},
            "resource": {"type": kind, "id": id}});
        let answer = pdp.ok(EVALUATION, &body);
        assert_eq!(pdp.ok(EVALUATION, &body), answer);
        answer["decision"].as_bool().unwrap()
    };
    // Zoe may everything, if only it can be said.
    for (kind, name, id) in [
        ("doc", "read", "a"),
        ("doc", "read", "a/b"),
        ("doc", "read", "a:b"),
        ("doc", "read", "/a"),
        ("doc", "read", "{a}"),
        ("doc", "read/all", "a"),
        ("route", "GET", "/todos/{todoId}"),
        ("doc", "read", "ü"),
        ("doc.v2", "read", "a"),
        ("d", "r", "$"),
    ] {
        assert!(ask(kind, name, id), "{kind} {name} {id}");
    }
    // Trap 3.
    for (kind, name, id) in [
        ("doc", "read", "*"),
        ("doc", "read", "a*"),
        ("doc", "*", "a"),
        ("*", "read", "a"),
        ("*", "*", "*"),
        ("doc/x", "read", "a"),
        ("doc:x", "read", "a"),
        ("doc", "x:read", "a"),
        ("doc", ":", "a"),
        ("", "read", "a"),
        ("doc", "", "a"),
        ("doc", "read", ""),
        ("doc", "read", "${self}"),
        ("doc", "read", "a b"),
        ("doc", "re ad", "a"),
        ("do c", "read", "a"),
        ("doc", "read", "a\n"),
        ("doc", "read", "a\u{0}"),
        ("doc", "read\t", "a"),
        ("doc", "read", "\u{a0}"),
        ("doc\u{85}", "read", "a"),
    ] {
        assert!(!ask(kind, name, id), "{kind:?} {name:?} {id:?}");
    }
    // In a search nobody may it either.
    for (kind, id) in [("doc/x", "a"), ("doc", "*"), ("", "a"), ("doc", "${self}")] {
        let body = json!({"subject": {"type": "user"}, "action": {"name": "read"},
            "resource": {"type": kind, "id": id}});
        assert_eq!(pdp.found(SUBJECTS, &body), [""; 0], "{kind} {id}");
    }
    let body = json!({"subject": {"type": "user", "id": "zoe"}, "action": {"name": "read"},
        "resource": {"type": "*"}});
    assert_eq!(pdp.found(RESOURCES, &body), [""; 0]);
    let body =
        json!({"subject": {"type": "user", "id": "zoe"}, "resource": {"type": "do:c", "id": "a"}});
    assert_eq!(pdp.found(ACTIONS, &body), [""; 0]);
}

#[test]
fn gateways_ask_by_the_template_of_their_route() {
    let pdp = pdp();
    // As Envoy's and Kong's plug-ins of the interoperability events do.
    let body = json!({
        "subject": {"type": "identity", "id": "ID-Bob"},
        "action": {"name": "GET"},
        "resource": {"type": "route", "id": "/todos/{todoId}", "properties": {
            "uri": "https://todo.example.com/todos/1", "path": "/todos/1", "params": {"todoId": "1"},
            "ip": "192.0.2.1"}},
        "context": {},
    });
    assert!(pdp.decide(&body));
    let mut other = body.clone();
    other["resource"]["id"] = json!("/users/{userID}");
    assert!(!pdp.decide(&other));
    other["resource"]["id"] = json!("todos/{todoId}");
    assert!(!pdp.decide(&other));
}

#[test]
fn a_rule_fits_where_every_value_is_equal_in_value_and_type() {
    let pdp = pdp();
    let ask = |subject: Value, context: Value| {
        let mut body = asks("ann", "read", "paper/b");
        body["subject"]["properties"] = subject;
        body["context"] = context;
        pdp.decide(&body)
    };
    let red = json!({"badge": {"colour": "red"}});
    assert!(ask(red.clone(), json!({"room": 7})));
    assert!(ask(red.clone(), json!({"room": 7.0, "more": [1]})), "one number");
    for (subject, context) in [
        (red.clone(), json!({"room": "7"})),
        (red.clone(), json!({"room": true})),
        (red.clone(), json!({"room": [7]})),
        (red.clone(), json!({"room": null})),
        (red.clone(), json!({"room": 7.5})),
        (red.clone(), json!({"room": 8})),
        (red.clone(), json!({})),
        (json!({"badge": {"colour": "Red"}}), json!({"room": 7})),
        (json!({"badge": "red"}), json!({"room": 7})),
        (json!({"badge.colour": "red"}), json!({"room": 7})),
        (json!({}), json!({"room": 7})),
    ] {
        assert!(!ask(subject.clone(), context.clone()), "{subject} {context}");
    }
    assert!(ask(json!({}), json!({"room": 8.5})));
    // Without a resource: what the id says is no part of it.
    assert!(pdp.decide(&asks("ann", "end", "session/whatever")));
    assert!(!pdp.decide(&asks("dan", "end", "session/whatever")));
    // A caller's word about the subject gives no role.
    let mut body = asks("ann", "scan", "doc/a");
    body["subject"]["properties"] = json!({"role": "root", "roles": ["root"], "groups": ["/root"]});
    assert!(!pdp.decide(&body));
    // The rules count in searches as well.
    let body = json!({"subject": {"type": "user", "id": "ann", "properties": red},
        "action": {"name": "read"}, "resource": {"type": "paper"}, "context": {"room": 7}});
    assert_eq!(pdp.found(RESOURCES, &body), ["a", "b"]);
    let without = json!({"subject": {"type": "user", "id": "ann"},
        "action": {"name": "read"}, "resource": {"type": "paper"}});
    assert_eq!(pdp.found(RESOURCES, &without), [""; 0]);
}

#[test]
fn nobody_is_let_in_without_a_name_or_looked_up() {
    let mut pdp = pdp();
    // `anonymous_role` and `provision` are for gateways that ask about whoever asks them.
    for id in ["", "stranger", "id-dan"] {
        assert!(!pdp.decide(&of("user", id)), "{id}");
        assert!(!pdp.decide(&of("identity", id)), "{id}");
    }
    let answer = pdp.ok(EVALUATION, &of("user", "stranger"));
    assert_eq!(
        answer,
        json!({"decision": false,
            "context": {"reason_admin": {"403": "the store knows no such subject"}}})
    );
    let answer = pdp.ok(EVALUATION, &asks("ann", "read", "doc/secret"));
    assert_eq!(answer["context"]["reason_admin"]["403"], "role `everyone`, policy 4 says Deny");
    let answer = pdp.ok(EVALUATION, &of("user", "dan"));
    assert_eq!(
        answer["context"]["reason_admin"]["403"],
        "the subject is disabled or deprovisioned"
    );
    pdp.logs("denied: the store knows no such subject");
    let silent = CONFIG.replace(
        "enabled = true\n[[gateway.authzen.subject]]\ntype = \"user\"",
        "enabled = true\nreasons = false\n[[gateway.authzen.subject]]\ntype = \"user\"",
    );
    assert_ne!(silent, CONFIG);
    let silent = Pdp::of(&silent, &[("realm.json", &realm())]);
    assert_eq!(silent.ok(EVALUATION, &of("user", "stranger")), json!({"decision": false}));
}

#[test]
fn nobody_is_provisioned_to_answer_about_them() {
    let config = CONFIG.replace("kind = \"file\"", "kind = \"file\"\nwatch = \"off\"");
    let config = format!("{config}\n[schedule]\ncron = \"0 0 0 1 1 *\"\njitter = \"0s\"\n");
    let pdp = Pdp::with("run", &config, &[("realm.json", &realm())]);
    // Somebody whom the source has and the store has not: `provision = "lookup"` would find her.
    let with_eve = realm().replace("\"zoe\"", "\"eve\"").replace("id-zoe", "id-eve");
    std::fs::write(pdp.home.path("realm.json"), with_eve).unwrap();
    for (kind, id) in [("user", "eve"), ("identity", "id-eve")] {
        let answer = pdp.ok(EVALUATION, &of(kind, id));
        let why = &answer["context"]["reason_admin"]["403"];
        assert_eq!(why, "the store knows no such subject");
    }
    let asked = pdp.metrics("idpsyncd_lookups_total");
    assert!(asked.iter().all(|line| line.ends_with(" 0")), "{asked:?}");
}
