//! The certification scenario of Authorization API 1.0: every rule of Basic, Batch, Search and
//! Discovery, Core and Properties, by its section there.

use serde_json::{Value, json};

use crate::kit::{ACTIONS, EVALUATION, EVALUATIONS, METADATA, Pdp, RESOURCES, SUBJECTS, asks};
use crate::support::gateways::{send, send_body};

fn archived() -> Value {
    json!({"type": "record", "id": "record-2", "properties": {"status": "archived"}})
}

fn admin() -> Value {
    json!({"type": "user", "id": "bob", "properties": {"role": "admin"}})
}

fn with(mut body: Value, member: &str, value: Value) -> Value {
    body[member] = value;
    body
}

fn without(mut body: Value, member: &str) -> Value {
    body.as_object_mut().unwrap().remove(member);
    body
}

/// 1.4: the eight decisions, and what 2.2 sends for them.
fn decisions() -> Vec<(&'static str, Value, bool)> {
    let soft = |soft: bool| json!({"name": "delete", "properties": {"soft": soft}});
    let time = json!({"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"});
    let more = json!({
        "subject": {"type": "user", "id": "alice",
            "properties": {"department": "Sales", "role": "manager"}},
        "action": {"name": "read", "properties": {"method": "GET"}},
        "resource": {"type": "record", "id": "record-1",
            "properties": {"status": "active", "owner": "bob"}},
    });
    let unknown = json!({"nested": true});
    let read = || asks("alice", "read", "record/record-1");
    let delete = || asks("alice", "delete", "record/record-1");
    let write = |subject: Value| json!({"subject": subject, "action": {"name": "write"}, "resource": archived()});
    vec![
        ("2.2.1, rule 1", read(), true),
        ("rule 2", asks("alice", "write", "record/record-1"), true),
        ("rule 3", asks("bob", "read", "record/record-1"), true),
        ("2.2.2, rule 4", asks("bob", "write", "record/record-1"), false),
        ("2.2.3: context", with(read(), "context", time), true),
        ("2.2.4, rule 5", write(json!({"type": "user", "id": "alice"})), false),
        ("2.2.5, rule 6", write(admin()), true),
        ("2.2.6, rule 7", with(delete(), "action", soft(true)), true),
        ("2.2.7, rule 8", with(delete(), "action", soft(false)), false),
        ("2.2.8: more properties", more, true),
        (
            "2.2.9: unknown fields",
            with(with(read(), "foo", json!("bar")), "futureField", unknown),
            true,
        ),
        ("the suite wants it of alice", asks("alice", "read", "record/record-2"), true),
    ]
}

#[test]
fn basic_decisions_are_those_of_the_scenario() {
    let pdp = Pdp::shipped();
    for (rule, body, expected) in decisions() {
        let answer = pdp.ok(EVALUATION, &body);
        assert_eq!(answer["decision"], expected, "{rule}");
        // 2.3: a permit says nothing that its caller might not understand.
        match expected {
            true => assert_eq!(answer, json!({"decision": true}), "{rule}"),
            false => assert!(answer["context"]["reason_admin"]["403"].is_string(), "{rule}"),
        }
        // 2.6, and byte for byte.
        let first = pdp.post(EVALUATION, &body).body;
        assert_eq!(pdp.post(EVALUATION, &body).body, first, "{rule}");
        // 3.4.2, 3.4.3: the evaluations endpoint without evaluations is the same.
        assert_eq!(pdp.post(EVALUATIONS, &body).body, first, "{rule}");
        let empty = with(body, "evaluations", json!([]));
        assert_eq!(pdp.post(EVALUATIONS, &empty).body, first, "{rule}");
    }
}

#[test]
fn what_is_missing_or_wrong_in_a_question_is_400() {
    let pdp = Pdp::shipped();
    let body = || asks("alice", "read", "record/record-1");
    let mut wrong = vec![
        ("2.4.6: a text", with(body(), "subject", json!("alice"))),
        ("2.4.6: a number", with(body(), "action", json!({"name": 123}))),
        ("a list", with(body(), "resource", json!([]))),
        ("null", with(body(), "subject", Value::Null)),
        ("a context that is none", with(body(), "context", json!("now"))),
        ("a list", json!([body()])),
        ("a text", json!("alice")),
        ("null", Value::Null),
        ("nothing in it", json!({})),
    ];
    for (entity, member) in [
        ("subject", "type"),
        ("subject", "id"),
        ("action", "name"),
        ("resource", "type"),
        ("resource", "id"),
    ] {
        wrong.push(("2.4.1", without(body(), entity)));
        let part = |value: Value| with(body(), entity, value);
        wrong.push(("2.4.2", part(without(body()[entity].clone(), member))));
        wrong.push(("2.4.6", part(with(body()[entity].clone(), member, json!(1)))));
        wrong.push(("2.4.6", part(with(body()[entity].clone(), "properties", json!([])))));
    }
    for path in [EVALUATION, EVALUATIONS] {
        for (rule, body) in &wrong {
            let got = pdp.post(path, body);
            assert_eq!(got.status, 400, "{rule}: {body}: {got:?}");
            assert!(got.json().is_string(), "the body is a message: {got:?}");
        }
        // 2.4.4, 2.4.5
        for body in ["", "{", "{\"subject\":", "not json", "{} {}", "{'a': 1}"] {
            assert_eq!(pdp.raw(path, body.as_bytes(), &[]).status, 400, "{body}");
        }
    }
}

#[test]
fn requests_are_posts_of_json_and_their_ids_come_back() {
    let pdp = Pdp::shipped();
    let body = asks("alice", "read", "record/record-1").to_string();
    let of = |kind: &[(&str, &str)]| {
        send_body(pdp.port, "POST", EVALUATION.as_bytes(), kind, body.as_bytes())
    };
    // 2.4.3
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(of(&[("content-type", kind)]).status, 200, "{kind}");
    }
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "application/json-patch+json", ""]
    {
        assert_eq!(of(&[("content-type", kind)]).status, 400, "{kind}");
    }
    assert_eq!(of(&[]).status, 400);
    let twice = [("content-type", "application/json"), ("content-type", "text/plain")];
    assert_eq!(of(&twice).status, 400);
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let got = send(pdp.port, method, EVALUATION.as_bytes(), &[]);
        assert_eq!(got.status, 405, "{method}");
        assert_eq!(got.headers["allow"], "POST");
    }
    // 2.5.1, on errors too
    let id = [("x-request-id", "bfe9eb29-ab87-4ca3-be83-a1d5d8305716")];
    for (path, body, status) in [
        (EVALUATION, body.as_str(), 200),
        (EVALUATION, "{", 400),
        (EVALUATIONS, "[]", 400),
        (SUBJECTS, "{}", 400),
    ] {
        let got = pdp.raw(path, body.as_bytes(), &id);
        assert_eq!((got.status, got.headers["x-request-id"].as_str()), (status, id[0].1), "{path}");
    }
    let got = send(pdp.port, "PUT", EVALUATION.as_bytes(), &id);
    assert_eq!((got.status, got.headers["x-request-id"].as_str()), (405, id[0].1));
    // 2.5.2
    assert!(!pdp.raw(EVALUATION, body.as_bytes(), &[]).headers.contains_key("x-request-id"));
}

/// What a batch comes to, an item each.
fn batch(pdp: &Pdp, body: &Value) -> Vec<bool> {
    let answer = pdp.ok(EVALUATIONS, body);
    assert!(answer.get("decision").is_none(), "3.3.4: {answer}");
    let items = answer["evaluations"].as_array().unwrap();
    items.iter().map(|item| item["decision"].as_bool().unwrap()).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn batches_are_those_of_the_scenario() {
    let pdp = Pdp::shipped();
    let alice = json!({"type": "user", "id": "alice"});
    let record = |id: &str, status: &str| json!({"type": "record", "id": id, "properties": {"status": status}});
    let one = json!({"type": "record", "id": "record-1"});
    let table = [
        (
            "3.2.1",
            json!({"subject": alice, "action": {"name": "read"}, "evaluations": [
            {"resource": one}, {"resource": {"type": "record", "id": "record-2"}}]}),
            vec![true, true],
        ),
        (
            "3.2.2, 3.3.2",
            json!({"subject": {"type": "user", "id": "bob"}, "resource": one,
            "evaluations": [{"action": {"name": "read"}}, {"action": {"name": "write"}}]}),
            vec![true, false],
        ),
        (
            "3.2.3",
            json!({"subject": alice, "action": {"name": "write"}, "evaluations": [
            {"resource": record("record-1", "active")},
            {"resource": record("record-2", "archived")}]}),
            vec![true, false],
        ),
        (
            "3.2.4",
            json!({"action": {"name": "write"}, "resource": archived(), "evaluations": [
            {"subject": alice}, {"subject": admin()}]}),
            vec![false, true],
        ),
        (
            "3.2.5",
            json!({"evaluations": [asks("alice", "read", "record/record-1"),
            asks("bob", "write", "record/record-1")]}),
            vec![true, false],
        ),
        (
            "3.2.6",
            json!({"subject": alice, "action": {"name": "read"},
            "context": {"time": "2025-06-27T18:03-07:00"}, "evaluations": [{"resource": one},
            {"resource": archived(), "context": {"source": "batch-override"}}]}),
            vec![true, true],
        ),
        // 3.2.7 wants an item's id completed by the default's type, which the specification and 3.2.7's
        // own advisory leave open: an entity replaces the default whole.
        (
            "an entity is replaced whole",
            json!({"subject": alice, "action": {"name": "write"},
            "resource": {"type": "record"}, "evaluations": [
            {"resource": {"id": "record-1", "properties": {"status": "active"}}},
            {"resource": record("record-1", "active")}]}),
            vec![false, true],
        ),
        (
            "3.4.1",
            json!({"subject": alice, "action": {"name": "read"},
            "evaluations": [{"resource": one}, {}]}),
            vec![true, false],
        ),
        ("an item alone that lacks something", json!({"evaluations": [{}]}), vec![false]),
        (
            "an item that is none",
            json!({"subject": alice, "action": {"name": "read"},
            "resource": one, "evaluations": ["x", {}, 7]}),
            vec![false, true, false],
        ),
        (
            "an item of a wrong type",
            json!({"subject": alice, "action": {"name": "read"},
            "evaluations": [{"resource": "record-1"}, {"resource": one, "subject": {"id": 1}}]}),
            vec![false, false],
        ),
        (
            "all defaults",
            with(
                asks("alice", "read", "record/record-1"),
                "evaluations",
                json!([{}, {}, {"unknown": 1}]),
            ),
            vec![true, true, true],
        ),
    ];
    for (rule, body, expected) in table {
        assert_eq!(batch(&pdp, &body), expected, "{rule}");
        let first = pdp.post(EVALUATIONS, &body).body;
        assert_eq!(pdp.post(EVALUATIONS, &body).body, first, "{rule}: the same bytes");
    }
    let body = json!({"subject": alice, "action": {"name": "read"}, "evaluations": [{}]});
    let answer = pdp.ok(EVALUATIONS, &body);
    let error = &answer["evaluations"][0]["context"]["error"];
    assert_eq!(error["status"], 400, "{answer}");
    assert_eq!(error["message"], "`evaluations[0].resource` is missing", "{answer}");
}

#[test]
fn the_semantic_of_a_batch_says_where_it_ends() {
    let pdp = Pdp::shipped();
    let items = json!([{"action": {"name": "read"}}, {"action": {"name": "write"}}, {},
        {"action": {"name": "read"}}]);
    let body = |options: Value| {
        json!({"subject": {"type": "user", "id": "bob"},
            "resource": {"type": "record", "id": "record-1"},
            "evaluations": items, "options": options})
    };
    let all = vec![true, false, false, true];
    for (semantic, expected) in [
        (json!({}), all.clone()),
        (json!({"evaluations_semantic": "execute_all", "other": 1}), all),
        (json!({"evaluations_semantic": "deny_on_first_deny"}), vec![true, false]),
        (json!({"evaluations_semantic": "permit_on_first_permit"}), vec![true]),
    ] {
        assert_eq!(batch(&pdp, &body(semantic.clone())), expected, "{semantic}");
    }
    // A broken item is a denial.
    let broken = json!({"evaluations": [{}, asks("alice", "read", "record/record-1"), {}],
        "options": {"evaluations_semantic": "deny_on_first_deny"}});
    assert_eq!(batch(&pdp, &broken), [false]);
    let permit = with(broken, "options", json!({"evaluations_semantic": "permit_on_first_permit"}));
    assert_eq!(batch(&pdp, &permit), [false, true]);
    for options in [
        json!({"evaluations_semantic": "first"}),
        json!({"evaluations_semantic": ""}),
        json!({"evaluations_semantic": 1}),
        json!({"evaluations_semantic": null}),
        json!("execute_all"),
    ] {
        assert_eq!(pdp.post(EVALUATIONS, &body(options.clone())).status, 400, "{options}");
    }
}

#[test]
fn what_is_wrong_for_a_whole_batch_is_400() {
    let pdp = Pdp::shipped();
    let items = json!([asks("alice", "read", "record/record-1")]);
    for (what, body) in [
        ("a subject that is a text", json!({"subject": "alice", "evaluations": items})),
        (
            "an id that is a number",
            json!({"subject": {"type": "user", "id": 1}, "evaluations": items}),
        ),
        ("a name that is a number", json!({"action": {"name": 123}, "evaluations": items})),
        ("a resource that is a list", json!({"resource": [], "evaluations": items})),
        ("a context that is a text", json!({"context": "x", "evaluations": items})),
        ("evaluations that are an object", json!({"evaluations": {"0": {}}})),
        ("evaluations that are a text", json!({"evaluations": "all"})),
        ("evaluations that are null", json!({"evaluations": null})),
    ] {
        assert_eq!(pdp.post(EVALUATIONS, &body).status, 400, "{what}");
    }
    // A default that lacks something is nobody's trouble who does not take it.
    let body = json!({"subject": {"type": "user"}, "evaluations": items});
    assert_eq!(batch(&pdp, &body), [true]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn searches_are_those_of_the_scenario() {
    let pdp = Pdp::shipped();
    let user = json!({"type": "user"});
    let alice = json!({"type": "user", "id": "alice"});
    let record = json!({"type": "record", "id": "record-1"});
    let read = json!({"name": "read"});
    let write = json!({"name": "write"});
    let time = json!({"time": "2025-06-27T18:03-07:00"});
    let who = json!({"subject": user, "action": read, "resource": record});
    let does = json!({"subject": alice, "resource": record});
    let table = [
        ("4.2.1", SUBJECTS, who.clone(), vec!["alice", "bob"]),
        (
            "4.2.2: context",
            SUBJECTS,
            with(who.clone(), "context", time.clone()),
            vec!["alice", "bob"],
        ),
        (
            "4.2.3: the id is ignored",
            SUBJECTS,
            with(who.clone(), "subject", json!({"type": "user", "id": 7})),
            vec!["alice", "bob"],
        ),
        (
            "4.2.4",
            SUBJECTS,
            json!({"subject": user, "action": write, "resource": archived()}),
            vec!["bob"],
        ),
        (
            "4.3.1",
            RESOURCES,
            json!({"subject": alice, "action": read,
            "resource": {"type": "record"}}),
            vec!["record-1", "record-2"],
        ),
        (
            "4.3.2: the id is ignored",
            RESOURCES,
            json!({"subject": alice, "action": read,
            "resource": record}),
            vec!["record-1", "record-2"],
        ),
        (
            "4.3.3",
            RESOURCES,
            json!({"subject": admin(), "action": write,
            "resource": {"type": "record"}}),
            vec!["record-2"],
        ),
        ("4.4.1", ACTIONS, does.clone(), vec!["read", "soft-delete", "write"]),
        (
            "4.4.2: context",
            ACTIONS,
            with(does.clone(), "context", time),
            vec!["read", "soft-delete", "write"],
        ),
        (
            "an action is ignored",
            ACTIONS,
            with(does.clone(), "action", json!("no such")),
            vec!["read", "soft-delete", "write"],
        ),
        (
            "4.4.3",
            ACTIONS,
            json!({"subject": admin(), "resource": archived()}),
            vec!["read", "write", "write-archived"],
        ),
        (
            "4.6.1",
            ACTIONS,
            json!({"subject": {"type": "user", "id": "nonexistent-user"},
            "resource": record}),
            vec![],
        ),
        (
            "4.6.2",
            SUBJECTS,
            json!({"subject": {"type": "spaceship"}, "action": read,
            "resource": record}),
            vec![],
        ),
        (
            "unknown resource",
            SUBJECTS,
            json!({"subject": user, "action": read,
            "resource": {"type": "planet", "id": "mars"}}),
            vec![],
        ),
        (
            "unknown action",
            SUBJECTS,
            json!({"subject": user, "action": {"name": "fly"},
            "resource": record}),
            vec![],
        ),
        (
            "unknown type",
            RESOURCES,
            json!({"subject": alice, "action": read,
            "resource": {"type": "planet"}}),
            vec![],
        ),
        (
            "unknown type of subject",
            RESOURCES,
            json!({"subject": {"type": "spaceship", "id": "x"},
            "action": read, "resource": {"type": "record"}}),
            vec![],
        ),
        (
            "unknown type",
            ACTIONS,
            json!({"subject": alice,
            "resource": {"type": "planet", "id": "mars"}}),
            vec![],
        ),
    ];
    for (rule, path, body, expected) in table {
        assert_eq!(pdp.found(path, &body), expected, "{rule}");
        let first = pdp.post(path, &body).body;
        assert_eq!(pdp.post(path, &body).body, first, "{rule}: the same bytes");
        assert!(first.starts_with("{\"page\":{\"next_token\":\"\""), "page first: {first}");
        // 4.5.1, 4.5.2: page by page it is the same.
        assert_eq!(pdp.found(path, &with(body, "page", json!({"limit": 1}))), expected, "{rule}");
    }
    let answer = pdp.ok(SUBJECTS, &who);
    assert_eq!(answer["results"][0], json!({"type": "user", "id": "alice"}));
    assert_eq!(pdp.ok(ACTIONS, &does)["results"][0], json!({"name": "read"}));
}

#[test]
fn what_a_search_lacks_is_400() {
    let pdp = Pdp::shipped();
    let (user, read) = (json!({"type": "user"}), json!({"name": "read"}));
    let alice = json!({"type": "user", "id": "alice"});
    let (kind, record) = (json!({"type": "record"}), json!({"type": "record", "id": "record-1"}));
    for (rule, path, body) in [
        ("4.7.1", SUBJECTS, json!({"subject": user, "resource": record})),
        ("4.7.1", RESOURCES, json!({"action": read, "resource": kind})),
        ("4.7.1", ACTIONS, json!({"subject": alice})),
        ("4.7.1", SUBJECTS, json!({"subject": user, "action": read})),
        ("4.7.1", SUBJECTS, json!({"action": read, "resource": record})),
        ("4.7.1", RESOURCES, json!({"subject": alice, "action": read})),
        ("4.7.1", ACTIONS, json!({"resource": record})),
        ("4.7.2", SUBJECTS, json!({"subject": user, "action": read, "resource": kind})),
        ("4.7.2", SUBJECTS, json!({"subject": {}, "action": read, "resource": record})),
        ("4.7.2", SUBJECTS, json!({"subject": user, "action": {}, "resource": record})),
        ("4.7.2", RESOURCES, json!({"subject": user, "action": read, "resource": kind})),
        ("4.7.2", RESOURCES, json!({"subject": alice, "action": read, "resource": {"id": "x"}})),
        ("4.7.2", ACTIONS, json!({"subject": user, "resource": record})),
        ("4.7.2", ACTIONS, json!({"subject": alice, "resource": kind})),
    ] {
        let got = pdp.post(path, &body);
        assert_eq!(got.status, 400, "{rule}: {path}: {body}: {got:?}");
    }
}

#[test]
fn the_metadata_says_where_what_is_asked() {
    let pdp = Pdp::shipped();
    let got = send(pdp.port, "GET", METADATA.as_bytes(), &[("x-request-id", "7")]);
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["content-type"], "application/json");
    assert_eq!(got.headers["x-request-id"], "7");
    let at = |path: &str| format!("https://pdp.example.com{path}");
    // 6.3, 6.4: nothing without a value is there.
    assert_eq!(
        got.json(),
        json!({
            "policy_decision_point": "https://pdp.example.com",
            "access_evaluation_endpoint": at(EVALUATION),
            "access_evaluations_endpoint": at(EVALUATIONS),
            "search_subject_endpoint": at(SUBJECTS),
            "search_resource_endpoint": at(RESOURCES),
            "search_action_endpoint": at(ACTIONS),
        })
    );
    assert_eq!(send(pdp.port, "POST", METADATA.as_bytes(), &[]).status, 405);
    assert_eq!(send(pdp.port, "GET", format!("{METADATA}/").as_bytes(), &[]).status, 404);
}
