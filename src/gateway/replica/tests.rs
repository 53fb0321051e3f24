//! Compiled policies decide as the policies themselves do. What comes from a store is tested in
//! `tests/gateway_replica.rs`.

mod cost;
mod roll;

use proptest::prelude::*;

use super::Ruling;
use super::decide::{Place, Rules, meet};
use super::people::{PackedStands, People, Stands};
use crate::policy::{Action, Effect, Policy, Resource, Verdict, decide};
use crate::routes::{ActionIdx, On, Question};

fn policy(effect: Effect, actions: &[&str], resources: Option<&[&str]>) -> Policy {
    Policy {
        effect,
        actions: actions.iter().map(|text| text.parse().unwrap()).collect(),
        resources: resources.map(|list| list.iter().map(|text| text.parse().unwrap()).collect()),
    }
}

const ACTIONS: [&str; 5] =
    ["workflow:Create", "workflow:Read", "pool:List", "pool:Create", "Pool:List"];
const PATTERNS: [&str; 7] =
    ["*:*", "workflow:*", "pool:*", "*:Create", "workflow:Create", "pool:List", "none:Such"];
const SCOPES: [&str; 4] = ["pool", "poo", "config", "user"];
const IDS: [&str; 13] =
    ["m", "ml", "ml-", "ml-a", "ml-a/b", "ml/a", "l", "x", "ML", "/", "a/ml", "ml-a/bc", "ü"];
const ID_PATTERNS: [&str; 16] = [
    "*", "*", "m*", "ml*", "ml-*", "ml-a*", "ml/*", "ml-a", "ml-a/b", "ml", "x", "a/*", "/*", "ü*",
    "${self}", "${self}",
];
/// Who asks. Some names would be patterns, if a name could be one.
const NAMES: [Option<&str>; 8] = [
    None,
    Some("ml"),
    Some("ml-a/b"),
    Some("ü"),
    Some("*"),
    Some("ml*"),
    Some("${self}"),
    Some(""),
];

fn resource() -> impl Strategy<Value = String> {
    (0..SCOPES.len(), 0..IDS.len()).prop_map(|(scope, id)| format!("{}/{}", SCOPES[scope], IDS[id]))
}

fn resource_pattern() -> impl Strategy<Value = String> {
    // One more than there are scopes: the bare `*`.
    (0..=SCOPES.len(), 0..ID_PATTERNS.len()).prop_map(|(scope, id)| {
        SCOPES.get(scope).map_or("*".to_owned(), |scope| format!("{scope}/{}", ID_PATTERNS[id]))
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (
        0..3u8,
        prop::collection::vec(0..PATTERNS.len(), 1..3),
        prop::option::weighted(0.8, prop::collection::vec(resource_pattern(), 1..4)),
    )
        .prop_map(|(effect, actions, resources)| {
            let effect = if effect == 0 { Effect::Deny } else { Effect::Allow };
            let actions: Vec<&str> = actions.into_iter().map(|place| PATTERNS[place]).collect();
            let resources: Option<Vec<&str>> =
                resources.as_ref().map(|list| list.iter().map(String::as_str).collect());
            policy(effect, &actions, resources.as_deref())
        })
}

/// Roles by name, sorted, and which of them somebody holds.
fn roles() -> impl Strategy<Value = Vec<(String, Vec<Policy>, bool)>> {
    prop::collection::vec(
        (prop::collection::vec(any_policy(), 0..4), prop::bool::weighted(0.7)),
        0..12,
    )
    .prop_map(|roles| {
        let name = |place: usize| format!("r{place:02}");
        roles
            .into_iter()
            .enumerate()
            .map(|(place, (policies, held))| (name(place), policies, held))
            .collect()
    })
}

fn compiled(roles: &[(String, Vec<Policy>, bool)], actions: &[Action]) -> (Rules, Vec<u32>) {
    let all: Vec<(&str, &[Policy])> =
        roles.iter().map(|(name, policies, _)| (name.as_str(), policies.as_slice())).collect();
    let held = (0u32..).zip(roles).filter(|(_, role)| role.2).map(|(place, _)| place).collect();
    (Rules::new(&all, actions).unwrap().opened(&all).unwrap(), held)
}

fn actions() -> Vec<Action> {
    ACTIONS.iter().map(|text| text.parse().unwrap()).collect()
}

fn as_verdict(decided: Ruling<'_>) -> Verdict<'_> {
    match decided {
        Ruling::Allow { role, policy } => Verdict::Decided(Effect::Allow, role, policy),
        Ruling::Deny { role, policy } => Verdict::Decided(Effect::Deny, role, policy),
        Ruling::NoPolicy => Verdict::NoPolicy,
    }
}

fn held(roles: &[(String, Vec<Policy>, bool)]) -> impl Iterator<Item = (&str, &[Policy])> + Clone {
    roles
        .iter()
        .filter(|(_, _, held)| *held)
        .map(|(name, policies, _)| (name.as_str(), policies.as_slice()))
}

/// What the words of the design say about a route whose path does not tell the resource, read off
/// the patterns' texts.
fn some_of<'a>(
    roles: impl Iterator<Item = (&'a str, &'a [Policy])>,
    action: &Action,
    scope: &str,
    me: Option<&str>,
) -> Verdict<'a> {
    let mut allowed = Verdict::NoPolicy;
    for (role, policies) in roles {
        for (place, policy) in policies.iter().enumerate() {
            let Some(resources) = &policy.resources else { continue };
            if !policy.actions.iter().any(|pattern| pattern.matches(action)) {
                continue;
            }
            let texts: Vec<String> = resources.iter().map(ToString::to_string).collect();
            match policy.effect {
                Effect::Deny => {
                    let whole = format!("{scope}/*");
                    if texts.iter().any(|text| *text == "*" || *text == whole) {
                        return Verdict::Decided(Effect::Deny, role, place);
                    }
                }
                Effect::Allow => {
                    let inside = format!("{scope}/");
                    let could = texts.iter().any(|text| {
                        *text == "*"
                            || text.starts_with(&inside)
                                && (me.is_some() || !text.ends_with("${self}"))
                    });
                    if could && allowed == Verdict::NoPolicy {
                        allowed = Verdict::Decided(Effect::Allow, role, place);
                    }
                }
            }
        }
    }
    allowed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn the_same_role_and_policy_decide_as_without_compiling(
        roles in roles(),
        resources in prop::collection::vec(resource(), 1..8),
    ) {
        let actions = actions();
        let (rules, set) = compiled(&roles, &actions);
        for (place, action) in (0u32..).map(ActionIdx::new).zip(&actions) {
            for me in NAMES {
                let ask = |on| as_verdict(rules.decide(&set, me, &Question { action: place, on }));
                let text = action.to_string();
                // The same where nobody had named the action beforehand.
                let open = |on| as_verdict(rules.decide_open(&set, me, &text, on));
                prop_assert_eq!(open(None), decide(held(&roles), action, None, me));
                prop_assert_eq!(ask(On::Nothing), decide(held(&roles), action, None, me));
                for text in &resources {
                    let resource: Resource = text.parse().unwrap();
                    let expected = decide(held(&roles), action, Some(&resource), me);
                    prop_assert_eq!(ask(On::Resource(text)), expected, "{:?} {} {}", me, action, text);
                    prop_assert_eq!(open(Some(text)), expected, "{:?} {} {}", me, action, text);
                }
            }
        }
    }

    #[test]
    fn some_resource_of_a_scope_is_judged_by_what_the_patterns_say(roles in roles()) {
        let actions = actions();
        let (rules, set) = compiled(&roles, &actions);
        for (place, action) in (0u32..).map(ActionIdx::new).zip(&actions) {
            for (scope, me) in SCOPES.into_iter().flat_map(|scope| NAMES.map(|me| (scope, me))) {
                let question = Question { action: place, on: On::SomeOf(scope) };
                let decided = as_verdict(rules.decide(&set, me, &question));
                let expected = some_of(held(&roles), action, scope, me);
                prop_assert_eq!(decided, expected, "{:?} {} {}", me, action, scope);
                // Whoever may act on any one resource gets past the gateway.
                for id in IDS {
                    let resource: Resource = format!("{scope}/{id}").parse().unwrap();
                    if decide(held(&roles), action, Some(&resource), me).is_allow() {
                        prop_assert!(decided.is_allow(), "{} {}", action, resource);
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_role_of_both_lists_is_found_however_long_they_are(
        set in prop::collection::btree_set(0..400u32, 0..120),
        list in prop::collection::btree_set(0..400u32, 0..120),
        short in 0..3u8,
    ) {
        let cut = |list: std::collections::BTreeSet<u32>, cut: bool| -> Vec<u32> {
            list.into_iter().step_by(if cut { 40 } else { 1 }).collect()
        };
        let (set, list) = (cut(set, short == 1), cut(list, short == 2));
        let list: Vec<Place> = list.into_iter().map(|role| (role, role + 7)).collect();
        let expected = list.iter().find(|(role, _)| set.contains(role)).copied();
        prop_assert_eq!(meet(&set, &list), expected);
    }

    #[test]
    fn people_are_a_map(
        steps in prop::collection::vec(("[a-cü]{0,3}", 0..9u32, any::<bool>()), 0..200),
    ) {
        let mut people = People::default();
        let mut expected = std::collections::HashMap::new();
        for (name, place, enabled) in steps {
            let stands = if enabled { Stands::Enabled(place) } else { Stands::Disabled(place) };
            let old = expected.insert(name.clone(), stands);
            people.put(&name, |was| {
                assert_eq!(was.map(PackedStands::stands), old);
                PackedStands::of(stands)
            })
            .unwrap();
        }
        prop_assert_eq!(people.len(), expected.len());
        for (name, stands) in &expected {
            prop_assert_eq!(people.get(name).map(PackedStands::stands), Some(*stands));
        }
        prop_assert_eq!(people.get("someone else"), None);
    }
}

#[test]
fn a_route_that_does_not_tell_the_resource() {
    let allow = |resources| policy(Effect::Allow, &["workflow:*"], resources);
    let deny = |resources| policy(Effect::Deny, &["workflow:*"], resources);
    let yes = Some(("r0", 0));
    let table = [
        ("nothing is said", vec![], None),
        ("everything", vec![allow(Some(&["*"]))], yes),
        ("the whole scope", vec![allow(Some(&["pool/*"]))], yes),
        ("a part of it", vec![allow(Some(&["pool/ml-*"]))], yes),
        ("one resource of it", vec![allow(Some(&["pool/x"]))], yes),
        ("another scope", vec![allow(Some(&["config/*", "pools/*", "poo/*", "poo/l"]))], None),
        ("without resources", vec![allow(None)], None),
        ("another action", vec![policy(Effect::Allow, &["pool:*"], Some(&["*"]))], None),
        ("a Deny of a part", vec![allow(Some(&["pool/*"])), deny(Some(&["pool/a*"]))], yes),
        ("a Deny of one", vec![allow(Some(&["pool/x"])), deny(Some(&["pool/x"]))], yes),
        ("a Deny of another scope", vec![allow(Some(&["*"])), deny(Some(&["config/*"]))], yes),
        ("a Deny without resources", vec![allow(Some(&["*"])), deny(None)], yes),
    ];
    let actions = ["workflow:Read".parse().unwrap()];
    let ask = |policies: &[Policy]| {
        let rules = Rules::new(&[("r0", policies)], &actions).unwrap();
        let question = Question { action: ActionIdx::new(0), on: On::SomeOf("pool") };
        match rules.decide(&[0], None, &question) {
            Ruling::Allow { role, policy } => Ok(Some((role.to_owned(), policy))),
            Ruling::Deny { role, policy } => Err((role.to_owned(), policy)),
            Ruling::NoPolicy => Ok(None),
        }
    };
    for (what, policies, expected) in table {
        let expected = expected.map(|(role, policy)| (role.to_owned(), policy));
        assert_eq!(ask(&policies), Ok(expected), "{what}");
    }
    for whole in ["*", "pool/*"] {
        let patterns = ["config/x", whole];
        let policies = [allow(Some(&["pool/x"])), policy(Effect::Deny, &["*:*"], Some(&patterns))];
        assert_eq!(ask(&policies), Err(("r0".to_owned(), 1)), "{whole}");
    }
}

#[test]
fn what_is_out_of_range_or_not_concrete_is_refused() {
    let all = [policy(Effect::Allow, &["*:*"], Some(&["*"]))];
    let rules = Rules::new(&[("r0", &all)], &actions()).unwrap();
    let ask = |action, on| {
        let question = Question { action: ActionIdx::new(action), on };
        rules.decide(&[0], Some("${self}"), &question).is_allow()
    };
    assert!(ask(0, On::Resource("pool/x")));
    assert!(!ask(99, On::Nothing));
    for bad in
        ["", "pool", "pool/", "/x", "pool/*", "*", "*/x", "pool/a b", "pool/a\u{0}", "pool/${self}"]
    {
        assert!(!ask(0, On::Resource(bad)), "{bad:?}");
    }
    assert!(
        !rules
            .decide(&[77], None, &Question { action: ActionIdx::new(0), on: On::Nothing })
            .is_allow()
    );
}

#[test]
fn actions_of_which_the_same_policies_speak_share_what_is_compiled() {
    let policies = [policy(Effect::Allow, &["workflow:*"], Some(&["pool/*"]))];
    let rules = Rules::new(&[("r0", &policies)], &actions()).unwrap();
    assert_eq!(rules.classes(), 2, "one of `workflow`, one of the others");
}
