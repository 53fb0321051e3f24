//! Pages, through generations.

use serde_json::{Value, json};

use crate::kit::{EVALUATION, Pdp, SUBJECTS, asks};

const CONFIG: &str = r#"
[store]
path = "store.db"
[schedule]
cron = "0 0 0 1 1 *"
jitter = "0s"
[sync]
on_missing = { after = "0s" }
[guard]
max_lost_percent = 100
max_disabled_percent = 100
[[source]]
name = "acme"
kind = "file"
realm_export = "realm.json"
watch = "off"
[roles.reader]
everyone = true
external_roles = []
[[roles.reader.policies]]
actions = ["record:read"]
resources = ["record/*"]
[[catalog]]
actions = ["record:read"]
resources = ["record/r"]
[gateway]
http = "127.0.0.1:{http}"
max_staleness = "STALE"
[gateway.authzen]
enabled = true
page_size = 4
"#;

fn realm(names: &[&str]) -> String {
    let users: Vec<Value> = names
        .iter()
        .map(|name| json!({"id": format!("id-{name}"), "username": name, "enabled": true}))
        .collect();
    json!({"realm": "acme", "groups": [], "roles": {}, "users": users}).to_string()
}

fn who(page: Value) -> Value {
    json!({"subject": {"type": "user"}, "action": {"name": "read", "properties": {"a": 1, "b": [2]}},
        "resource": {"type": "record", "id": "r"}, "context": {"x": {"y": 1, "z": 2}}, "page": page})
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect()
}

#[test]
fn a_token_belongs_to_its_search_and_its_limit() {
    let config = CONFIG.replace("STALE", "24h");
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let pdp = Pdp::of(&config, &[("realm.json", &realm(&names))]);
    let first = pdp.ok(SUBJECTS, &who(json!({"limit": 3})));
    assert_eq!(ids(&first), ["a", "b", "c"]);
    let token = first["page"]["next_token"].clone();
    // With the limit or without it, and whatever the order of the members or what nobody knows.
    for page in [
        json!({"token": token}),
        json!({"token": token, "limit": 3}),
        json!({"limit": 3, "token": token, "properties": {"sort": 1}, "unknown": 1}),
    ] {
        assert_eq!(ids(&pdp.ok(SUBJECTS, &who(page.clone()))), ["d", "e", "f"], "{page}");
    }
    let mut turned = who(json!({"token": token}));
    turned["context"] = json!({"x": {"z": 2, "y": 1}});
    turned["subject"] = json!({"id": "ignored", "type": "user"});
    turned["unknown"] = json!([1]);
    assert_eq!(ids(&pdp.ok(SUBJECTS, &turned)), ["d", "e", "f"]);
    // Anything else is another search, or another limit.
    let other = |path: &[&str], value: Value| {
        let mut body = who(json!({"token": token}));
        let mut at = &mut body;
        for name in path {
            at = &mut at[name];
        }
        *at = value;
        body
    };
    for body in [
        other(&["page", "limit"], json!(2)),
        other(&["page", "limit"], json!(4)),
        other(&["page", "limit"], json!(0)),
        other(&["action", "name"], json!("write")),
        other(&["action", "properties", "a"], json!(2)),
        other(&["action", "properties"], json!({"a": 1})),
        other(&["resource", "id"], json!("s")),
        other(&["resource", "properties"], json!({})),
        other(&["subject", "type"], json!("identity")),
        other(&["subject", "properties"], json!({"x": 1})),
        other(&["context", "x", "z"], json!(3)),
        other(&["context"], json!({})),
    ] {
        assert_eq!(pdp.post(SUBJECTS, &body).status, 400, "{body}");
    }
    let text = token.as_str().unwrap();
    for bad in [&text[1..], &text[..text.len() - 1], &format!("{text}A"), &text.to_uppercase()] {
        assert_eq!(pdp.post(SUBJECTS, &who(json!({"token": bad}))).status, 400, "{bad}");
    }
    // A limit above the size of a page is cut, and none is that size.
    for page in [json!({}), json!({"limit": 4}), json!({"limit": 1000})] {
        let answer = pdp.ok(SUBJECTS, &who(page.clone()));
        assert_eq!(ids(&answer), ["a", "b", "c", "d"], "{page}");
        let next = json!({"token": answer["page"]["next_token"], "limit": 1000});
        let next = pdp.ok(SUBJECTS, &who(next));
        assert_eq!(ids(&next), ["e", "f", "g"]);
        assert_eq!(next["page"]["next_token"], "", "it is the last");
    }
}

#[test]
fn a_page_goes_on_after_the_last_result_whatever_is_committed_meanwhile() {
    let config = CONFIG.replace("STALE", "24h");
    let names = ["b", "d", "f", "h", "k", "m"];
    let mut pdp = Pdp::of(&config, &[("realm.json", &realm(&names))]);
    let first = pdp.ok(SUBJECTS, &who(json!({"limit": 3})));
    assert_eq!(ids(&first), ["b", "d", "f"]);
    // The last result itself goes, one comes before it, one behind it, and one that was to come goes.
    std::fs::write(pdp.home.path("realm.json"), realm(&["a", "b", "d", "g", "k", "m"])).unwrap();
    pdp.home.ok(&["sync"], 0);
    pdp.server.until_logged("the gateway answers from generation 2");
    let next = pdp.ok(SUBJECTS, &who(json!({"token": first["page"]["next_token"]})));
    assert_eq!(ids(&next), ["g", "k", "m"]);
    assert_eq!(next["page"]["next_token"], "");
    assert!(!pdp.decide(&asks("f", "read", "record/r")));
    assert!(pdp.decide(&asks("g", "read", "record/r")));
}

#[test]
fn old_evidence_is_no_denial() {
    let config = CONFIG.replace("STALE", "1s");
    // On a busy machine it may be old before anybody asks.
    let mut pdp = Pdp::listening("serve", &config, &[("realm.json", &realm(&["a"]))]);
    let (port, body) = (pdp.port, asks("a", "read", "record/r").to_string());
    let id = [("content-type", "application/json"), ("x-request-id", "7")];
    let path = EVALUATION.as_bytes();
    let got = pdp.server.until("its evidence is old", || {
        let got = crate::support::gateways::send_body(port, "POST", path, &id, body.as_bytes());
        let old = got.status == 503 && got.json() == "the evidence is too old to decide by";
        old.then_some(got)
    });
    assert_eq!(got.headers["x-request-id"], "7");
    assert_eq!(pdp.post(SUBJECTS, &who(json!({}))).status, 503);
    let start = "idpsyncd_decisions_total{protocol=\"authzen\",result=\"unavailable\"}";
    assert_ne!(pdp.metrics(start), [format!("{start} 0")]);
    pdp.logs("every request is refused");
}
