use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::policy::decide;

/// The one policy that the vendor publishes.
const SAMPLE: &str = r#"{"resources": ["*"],
 "statements": [{"subjects": ["role:SUPPORT"], "actions": ["instance:view_log", "instance:read"],
                 "attributes": [], "effect": "allow"}]}"#;

fn faults(text: &str) -> Vec<String> {
    parse(text).expect_err(text).iter().map(ToString::to_string).collect()
}

/// What `policies` decide for somebody who holds `roles`.
fn decided(policies: &[IamPolicy], roles: &[&str], action: &str, resource: Option<&str>) -> bool {
    let mut of_role: BTreeMap<&str, Vec<Policy>> = BTreeMap::new();
    for (role, policy) in policies.iter().flat_map(IamPolicy::of_roles) {
        of_role.entry(role).or_default().push(policy);
    }
    let held = of_role.iter().filter(|(role, _)| roles.contains(role));
    let resource = resource.map(|resource| resource.parse().unwrap());
    decide(
        held.map(|(role, policies)| (*role, policies.as_slice())),
        &action.parse().unwrap(),
        resource.as_ref(),
        None,
    )
    .is_allow()
}

#[test]
fn the_vendors_sample_allows_what_its_page_says() {
    let policies = parse(SAMPLE).unwrap();
    for (roles, action, resource, allowed) in [
        (&["SUPPORT"][..], "instance:view_log", Some("instance/17"), true),
        (&["SUPPORT"], "instance:read", Some("instance/17"), true),
        (&["SUPPORT"], "instance:read", None, true),
        (&["SUPPORT", "other"], "instance:read", Some("instance/17"), true),
        (&["SUPPORT"], "instance:terminate", Some("instance/17"), false),
        (&["SUPPORT"], "app:read", Some("app/17"), false),
        // Names and actions compare exactly.
        (&["support"], "instance:read", Some("instance/17"), false),
        (&["SUPPORT"], "instance:Read", Some("instance/17"), false),
        (&["other"], "instance:read", Some("instance/17"), false),
        (&[], "instance:read", Some("instance/17"), false),
    ] {
        assert_eq!(decided(&policies, roles, action, resource), allowed, "{roles:?} {action}");
    }
}

#[test]
fn a_deny_of_any_policy_denies_and_a_policy_counts_where_its_resources_match() {
    let policies = parse(
        r#"[
        {"resources": ["instance/*"],
         "statements": [{"subjects": ["role:A", "role:B"], "actions": ["instance:read"],
                         "effect": "allow"},
                        {"subjects": ["role:C"], "actions": ["instance:read"], "effect": "deny"}]},
        {"resources": ["instance/17"],
         "statements": [{"subjects": ["role:B"], "actions": ["instance:read"], "effect": "deny"}]}
        ]"#,
    )
    .unwrap();
    for (roles, resource, allowed) in [
        (&["A"][..], "instance/17", true),
        (&["A"], "instance/18", true),
        (&["B"], "instance/17", false),
        (&["B"], "instance/18", true),
        (&["A", "B"], "instance/17", false),
        (&["A", "C"], "instance/18", false),
        (&["A"], "app/17", false),
    ] {
        let found = decided(&policies, roles, "instance:read", Some(resource));
        assert_eq!(found, allowed, "{roles:?} {resource}");
    }
}

/// `statement` is the whole of one; the rest of its policy is right.
fn around(statement: &str) -> String {
    format!(r#"{{"resources": ["*"], "statements": [{statement}]}}"#)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_not_understood_is_refused_by_its_field() {
    for (text, expected) in [
        // A policy.
        ("", "is not JSON: EOF while parsing a value at line 1 column 0"),
        ("{", "is not JSON: EOF while parsing an object at line 1 column 1"),
        (r#"{"resources": ["*"]} {}"#, "is not JSON: trailing characters at line 1 column 22"),
        ("7", "expected an object, found a number"),
        ("null", "expected an object, found null"),
        (r#"["a"]"#, "[1]: expected an object, found a string"),
        (r#"{"resources": ["*"]}"#, "statements: is missing"),
        (r#"{"resources": ["*"], "statements": []}"#, "statements: is an empty list"),
        (
            r#"{"resources": ["*"], "statements": {}}"#,
            "statements: expected a list, found an object",
        ),
        (
            r#"{"resources": ["*"], "statements": [true]}"#,
            "statements[1]: expected an object, found a boolean",
        ),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
    let right = r#""subjects": ["role:A"], "actions": ["a:b"], "effect": "allow""#;
    for (resources, expected) in [
        (r#""*""#, "resources: expected a list, found a string"),
        ("[]", "resources: is an empty list"),
        (r#"["*", 1]"#, "resources[2]: expected a string, found a number"),
        (
            r#"["app"]"#,
            "resources[1]: `app` is not a resource that is understood: only `*`, `type/id` and `type/*` are",
        ),
        (r#"["app/x*"]"#, "resources[1]: `app/x*` is not"),
        (r#"["app/x/*"]"#, "resources[1]: `app/x/*` is not"),
        (r#"["*/x"]"#, "resources[1]: `*/x` is not"),
        (r#"["app/${self}"]"#, "resources[1]: `app/${self}` is not"),
        (r#"["/"]"#, "resources[1]: `/` is not"),
        (r#"["a b/c"]"#, "resources[1]: `a b/c` is not"),
    ] {
        let text = format!(r#"{{"resources": {resources}, "statements": [{{{right}}}]}}"#);
        let found = faults(&text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
    for (statement, expected) in [
        (
            r#"{"subjects": ["user:ann"], "actions": ["a:b"], "effect": "allow"}"#,
            "statements[1].subjects[1]: `user:ann` is not a subject that is understood: only `role:NAME` is",
        ),
        (
            r#"{"subjects": ["*"], "actions": ["a:b"], "effect": "allow"}"#,
            "statements[1].subjects[1]: `*` is not",
        ),
        (
            r#"{"subjects": ["role:"], "actions": ["a:b"], "effect": "allow"}"#,
            "statements[1].subjects[1]: a role's name is empty",
        ),
        (
            r#"{"subjects": ["role:*"], "actions": ["a:b"], "effect": "allow"}"#,
            "statements[1].subjects[1]: `role:*` holds",
        ),
        (
            r#"{"subjects": ["!role:A"], "actions": ["a:b"], "effect": "allow"}"#,
            "statements[1].subjects[1]: `!role:A` is not",
        ),
        (
            r#"{"subjects": ["Role:A"], "actions": ["a:b"], "effect": "allow"}"#,
            "statements[1].subjects[1]: `Role:A` is not",
        ),
        (
            r#"{"subjects": ["role:a b"], "actions": ["a:b"], "effect": "allow"}"#,
            "statements[1].subjects[1]: `a b` cannot be",
        ),
        (
            r#"{"subjects": [], "actions": ["a:b"], "effect": "allow"}"#,
            "statements[1].subjects: is an empty list",
        ),
        (r#"{"actions": ["a:b"], "effect": "allow"}"#, "statements[1].subjects: is missing"),
        (
            r#"{"subjects": ["role:A"], "actions": [], "effect": "allow"}"#,
            "statements[1].actions: is an empty list",
        ),
        (r#"{"subjects": ["role:A"], "effect": "allow"}"#, "statements[1].actions: is missing"),
        (
            r#"{"subjects": ["role:A"], "actions": ["read"], "effect": "allow"}"#,
            "statements[1].actions[1]: `read` is not an action",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["*"], "effect": "deny"}"#,
            "statements[1].actions[1]: `*` is not an action",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["instance:re*"], "effect": "deny"}"#,
            "statements[1].actions[1]: `instance:re*` is not",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "attributes": ["x"], "effect": "allow"}"#,
            "statements[1].attributes: holds something",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "attributes": {}, "effect": "allow"}"#,
            "statements[1].attributes: expected a list, found an object",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "attributes": null, "effect": "allow"}"#,
            "statements[1].attributes: expected a list, found null",
        ),
        (r#"{"subjects": ["role:A"], "actions": ["a:b"]}"#, "statements[1].effect: is missing"),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "effect": "Allow"}"#,
            "statements[1].effect: `Allow` is neither `allow` nor `deny`",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "effect": "DENY"}"#,
            "statements[1].effect: `DENY` is neither",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "effect": true}"#,
            "statements[1].effect: expected `allow` or `deny`, found a boolean",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "effect": "allow", "efect": "deny"}"#,
            "statements[1].efect: unknown field; known here: `subjects`, `actions`, `attributes`, `effect`",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "effect": "allow", "effect": "deny"}"#,
            "statements[1].effect: stands twice",
        ),
        (
            r#"{"subjects": ["role:A"], "actions": ["a:b"], "effect": "allow", "\u0065ffect": "allow"}"#,
            "statements[1].effect: stands twice",
        ),
    ] {
        let found = faults(&around(statement));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{statement}: {found:?}");
    }
    for top in ["id", "version", "name", "Resources"] {
        let text = format!(r#"{{"{top}": 1, "resources": ["*"], "statements": [{{{right}}}]}}"#);
        let unknown = format!("{top}: unknown field; known here: `resources`, `statements`");
        assert_eq!(faults(&text), [unknown]);
    }
}

#[test]
fn every_fault_of_a_text_is_found_and_none_of_it_counts() {
    let text = format!(
        r#"[{SAMPLE}, {{"resources": ["x"], "statements": [{{"subjects": ["role:A", "B"],
            "actions": ["a:b"], "effect": "maybe", "x": 1}}, 7]}}]"#
    );
    let fields: Vec<String> = parse(&text).unwrap_err().into_iter().map(|it| it.field).collect();
    assert_eq!(
        fields,
        [
            "[2].resources[1]",
            "[2].statements[1].x",
            "[2].statements[1].subjects[2]",
            "[2].statements[1].effect",
            "[2].statements[2]",
        ]
    );
}

#[test]
fn no_message_carries_a_control_character() {
    let text = around(
        "{\"subjects\": [\"\\u001b[31m\"], \"actions\": [\"\\u0007\"], \"effect\": \"\\n\", \"\\u001b\": 1}",
    );
    for fault in parse(&text).unwrap_err() {
        assert!(!fault.to_string().chars().any(char::is_control), "{fault:?}");
    }
}

#[test]
fn what_is_written_has_the_same_members_in_the_same_order() {
    let policies = parse(SAMPLE).unwrap();
    let written = write(&policies.iter().collect::<Vec<_>>());
    let (ours, theirs): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(&written).unwrap(), serde_json::from_str(SAMPLE).unwrap());
    assert_eq!(ours, theirs);
    assert_eq!(
        written,
        "{\n  \"resources\": [\"*\"],\n  \"statements\": [\n    {\"subjects\": [\"role:SUPPORT\"], \
         \"actions\": [\"instance:view_log\", \"instance:read\"], \"attributes\": [], \"effect\": \
         \"allow\"}\n  ]\n}\n"
    );
    assert_eq!(write(&[]), "[]\n");
    assert_eq!(parse(&write(&[])), Ok(vec![]));
}

fn policies() -> impl Strategy<Value = Vec<IamPolicy>> {
    let texts = |texts: &'static [&'static str]| {
        prop::collection::vec(prop::sample::select(texts.to_vec()), 1..4)
    };
    let statement = (
        texts(&["SUPPORT", "a-b", "ünï", "x\"y", "\\", "role:role"]),
        texts(&["instance:view_log", "app:*", "*:read", "*:*", "t:\"q\""]),
        any::<bool>(),
        any::<bool>(),
    );
    let statement = statement.prop_map(|(roles, actions, attributes, allow)| Statement {
        roles: roles.into_iter().map(str::to_owned).collect(),
        actions: actions.iter().map(|text| text.parse().unwrap()).collect(),
        attributes,
        effect: if allow { Effect::Allow } else { Effect::Deny },
    });
    let policy = (
        texts(&["*", "instance/17", "app/*", "tag/a/b", "x/\"y\\"]),
        prop::collection::vec(statement, 1..4),
    );
    let policy = policy.prop_map(|(resources, statements)| IamPolicy {
        resources: resources.iter().map(|text| text.parse().unwrap()).collect(),
        statements,
    });
    prop::collection::vec(policy, 0..4)
}

/// The vendor's rule, word for word: a policy counts if its resources match; any statement of any
/// policy that denies denies; else one that allows allows.
fn by_the_vendors_rule(
    policies: &[IamPolicy],
    held: &[&str],
    action: &str,
    resource: &str,
) -> bool {
    let (action, resource) = (action.parse().unwrap(), resource.parse().unwrap());
    let counting = policies
        .iter()
        .filter(|policy| policy.resources.iter().any(|it| it.matches(&resource, None)));
    let speaks = |statement: &&Statement| {
        statement.roles.iter().any(|role| held.contains(&role.as_str()))
            && statement.actions.iter().any(|it| it.matches(&action))
    };
    let effects: Vec<Effect> = counting
        .flat_map(|policy| policy.statements.iter().filter(speaks))
        .map(|statement| statement.effect)
        .collect();
    !effects.contains(&Effect::Deny) && effects.contains(&Effect::Allow)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn roles_decide_as_the_vendors_rule_over_all_policies(
        policies in policies(),
        held in prop::sample::subsequence(vec!["SUPPORT", "a-b", "ünï", "role:role", "none"], 0..=5),
        action in prop::sample::select(vec!["instance:view_log", "app:read", "app:run", "x:y"]),
        resource in prop::sample::select(vec!["instance/17", "instance/1", "app/x", "tag/a/b"]),
    ) {
        prop_assert_eq!(
            decided(&policies, &held, action, Some(resource)),
            by_the_vendors_rule(&policies, &held, action, resource)
        );
    }

    #[test]
    fn what_is_written_reads_back_as_it_was(policies in policies()) {
        let written = write(&policies.iter().collect::<Vec<_>>());
        prop_assert_eq!(parse(&written), Ok(policies));
    }

    #[test]
    fn no_text_makes_the_reader_stumble(text in "[\\[\\]{}\":,a-z*/ ]{0,40}") {
        let _ = parse(&text);
    }
}
