//! Policies and decisions: tables of what patterns and policies mean, and the same questions put to
//! Cedar, which was written by others.
#![cfg(test)]

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use idpsyncd::config;
use idpsyncd::policy::{
    Action, ActionPattern, Decision, Effect, Policy, Resource, ResourcePattern, Verdict, combined,
    decide, decide_catalog, decide_some, effects,
};
use proptest::prelude::*;

// ---- patterns ----------------------------------------------------------------------------------

#[test]
fn a_concrete_action_is_a_type_and_a_name() {
    for good in ["workflow:Create", "a:b", "pool-2:List_All", "wörk:Läs", "a.b/c:D"] {
        let action: Action = good.parse().unwrap();
        assert_eq!(action.to_string(), good);
    }
    for (bad, why) in [
        ("", "`` is not an action: expected `type:Name`"),
        ("workflow", "`workflow` is not an action: expected `type:Name`"),
        (":Create", "`:Create` has an empty type"),
        ("workflow:", "`workflow:` has an empty name"),
        ("a:b:c", "`a:b:c` is not an action: it has more than one `:`"),
        ("a: b", "`a: b` holds white space or a control character"),
        ("a:b\u{7}", "`a:b\u{7}` holds white space or a control character"),
        ("workflow:*", "`workflow:*` holds a `*`: a concrete action is needed"),
        ("*:*", "`*:*` holds a `*`: a concrete action is needed"),
        ("work*:Create", "`work*:Create` holds a `*`: a concrete action is needed"),
    ] {
        assert_eq!(bad.parse::<Action>().unwrap_err().to_string(), why, "{bad:?}");
    }
}

#[test]
fn a_concrete_resource_is_a_scope_and_an_id_that_may_hold_slashes() {
    for good in ["pool/ml", "pool/ml/a/b", "config/x:y", "pool//"] {
        let resource: Resource = good.parse().unwrap();
        assert_eq!(resource.as_str(), good);
        assert_eq!(resource.to_string(), good);
    }
    for (bad, why) in [
        ("", "`` is not a resource: expected `scope/id`"),
        ("pool", "`pool` is not a resource: expected `scope/id`"),
        ("/ml", "`/ml` has an empty scope"),
        ("pool/", "`pool/` has an empty id"),
        ("pool/m l", "`pool/m l` holds white space or a control character"),
        ("pool/*", "`pool/*` holds a `*`: a concrete resource is needed"),
        ("pool/ml-*", "`pool/ml-*` holds a `*`: a concrete resource is needed"),
        ("*", "`*` is not a resource: expected `scope/id`"),
    ] {
        assert_eq!(bad.parse::<Resource>().unwrap_err().to_string(), why, "{bad:?}");
    }
}

#[test]
fn a_pattern_reads_back_as_it_was_written_and_nothing_else_is_a_pattern() {
    for good in ["*:*", "workflow:*", "*:List", "workflow:List"] {
        let pattern: ActionPattern = good.parse().unwrap();
        assert_eq!(pattern.to_string(), good);
        assert_eq!(serde_json::to_value(&pattern).unwrap(), good);
        assert_eq!(serde_json::from_value::<ActionPattern>(good.into()).unwrap(), pattern);
    }
    for bad in
        ["", "*", "workflow", "work*:List", "workflow:L*", "*:*:*", "**:*", ":*", "*:", "a b:*"]
    {
        assert!(bad.parse::<ActionPattern>().is_err(), "{bad:?}");
        assert!(serde_json::from_value::<ActionPattern>(bad.into()).is_err(), "{bad:?}");
    }
    for good in ["*", "pool/*", "pool/ml-*", "pool/ml/*", "pool/ml", "user/${self}"] {
        let pattern: ResourcePattern = good.parse().unwrap();
        assert_eq!(pattern.to_string(), good);
        assert_eq!(serde_json::to_value(&pattern).unwrap(), good);
        assert_eq!(serde_json::from_value::<ResourcePattern>(good.into()).unwrap(), pattern);
    }
    for bad in [
        "",
        "pool",
        "pool/",
        "/*",
        "**",
        "*/ml",
        "p*/ml",
        "pool/*ml",
        "pool/m*l",
        "pool/**",
        "a/ *",
        "${self}",
        "${self}/x",
        "user/${self}*",
        "user/${self}/*",
        "user/x${self}",
        "user/${SELF}",
        "user/${name}",
        "user/${",
        "user/${self}${self}",
    ] {
        assert!(bad.parse::<ResourcePattern>().is_err(), "{bad:?}");
        assert!(serde_json::from_value::<ResourcePattern>(bad.into()).is_err(), "{bad:?}");
    }
}

#[test]
fn an_action_pattern_means_all_types_all_names_or_one_and_case_counts() {
    let all = ["workflow:List", "workflow:Read", "pool:List", "Workflow:List", "workflow:list"];
    for (pattern, meant) in [
        ("*:*", &all[..]),
        ("workflow:*", &["workflow:List", "workflow:Read", "workflow:list"][..]),
        ("*:List", &["workflow:List", "pool:List", "Workflow:List"][..]),
        ("workflow:List", &["workflow:List"][..]),
        ("work:*", &[][..]),
        ("*:Li", &[][..]),
    ] {
        let parsed: ActionPattern = pattern.parse().unwrap();
        let matched: Vec<&str> =
            all.into_iter().filter(|action| parsed.matches(&action.parse().unwrap())).collect();
        assert_eq!(matched, meant, "{pattern}");
    }
}

#[test]
fn a_resource_pattern_means_the_whole_rest_slashes_too_and_case_counts() {
    let all = [
        "pool/ml",
        "pool/ml-a",
        "pool/ml-a/b",
        "pool/x/ml-a",
        "pools/ml-a",
        "Pool/ml-a",
        "pool/ML-a",
    ];
    for (pattern, meant) in [
        ("*", &all[..]),
        ("pool/*", &["pool/ml", "pool/ml-a", "pool/ml-a/b", "pool/x/ml-a", "pool/ML-a"][..]),
        ("pool/ml-*", &["pool/ml-a", "pool/ml-a/b"][..]),
        ("pool/ml-a/*", &["pool/ml-a/b"][..]),
        ("pool/ml*", &["pool/ml", "pool/ml-a", "pool/ml-a/b"][..]),
        ("pool/ml", &["pool/ml"][..]),
        ("pool/ml-a", &["pool/ml-a"][..]),
        // A whole `scope/prefix` is matched by its own prefix pattern: the rest may be empty.
        ("pool/ml-a*", &["pool/ml-a", "pool/ml-a/b"][..]),
        ("poo/*", &[][..]),
    ] {
        let parsed: ResourcePattern = pattern.parse().unwrap();
        let matched: Vec<&str> = all
            .into_iter()
            .filter(|resource| parsed.matches(&resource.parse().unwrap(), Some("x")))
            .collect();
        assert_eq!(matched, meant, "{pattern}");
    }
}

// ---- policies and decisions --------------------------------------------------------------------

fn policy(effect: Effect, actions: &[&str], resources: Option<&[&str]>) -> Policy {
    Policy {
        effect,
        actions: actions.iter().map(|action| action.parse().unwrap()).collect(),
        resources: resources.map(|list| list.iter().map(|r| r.parse().unwrap()).collect()),
    }
}

fn allow(actions: &[&str], resources: Option<&[&str]>) -> Policy {
    policy(Effect::Allow, actions, resources)
}

fn deny(actions: &[&str], resources: Option<&[&str]>) -> Policy {
    policy(Effect::Deny, actions, resources)
}

/// `workflow:Create` or `workflow:Create pool/ml`.
fn request(text: &str) -> (Action, Option<Resource>) {
    match text.split_once(' ') {
        Some((action, resource)) => (action.parse().unwrap(), Some(resource.parse().unwrap())),
        None => (text.parse().unwrap(), None),
    }
}

#[test]
fn a_policy_without_resources_speaks_only_of_requests_without_one_and_so_does_a_deny() {
    for effect in [Effect::Allow, Effect::Deny] {
        let policy = policy(effect, &["workflow:*"], None);
        for (asked, matches) in
            [("workflow:List", true), ("pool:List", false), ("workflow:List pool/ml", false)]
        {
            let (action, resource) = request(asked);
            assert_eq!(
                policy.matches(&action, resource.as_ref(), None),
                matches,
                "{effect:?} {asked}"
            );
        }
    }
}

#[test]
fn a_policy_with_resources_matches_a_request_without_one_by_its_action_alone_allow_and_deny_alike()
{
    for effect in [Effect::Allow, Effect::Deny] {
        let policy = policy(effect, &["workflow:*", "pool:List"], Some(&["pool/ml-*"]));
        for (asked, matches) in [
            ("pool:List", true),
            ("workflow:Create", true),
            ("pool:Read", false),
            ("workflow:Create pool/ml-a", true),
            ("pool:List pool/ml-a", true),
            ("workflow:Create pool/x", false),
            ("pool:Read pool/ml-a", false),
        ] {
            let (action, resource) = request(asked);
            assert_eq!(
                policy.matches(&action, resource.as_ref(), None),
                matches,
                "{effect:?} {asked}"
            );
        }
    }
}

#[test]
fn any_pattern_of_a_policy_is_enough() {
    let policy = allow(&["a:B", "c:*"], Some(&["x/1", "y/*"]));
    for (asked, matches) in [
        ("a:B x/1", true),
        ("a:B y/2", true),
        ("c:D x/1", true),
        ("c:D y/2", true),
        ("a:C x/1", false),
        ("a:B x/2", false),
    ] {
        let (action, resource) = request(asked);
        assert_eq!(policy.matches(&action, resource.as_ref(), None), matches, "{asked}");
    }
}

#[test]
fn any_deny_of_any_role_wins_else_any_allow_else_deny() {
    let wide = [allow(&["*:*"], Some(&["*"]))];
    let brake = [allow(&["x:Y"], None), deny(&["workflow:Exec"], Some(&["pool/ml-*"]))];
    let narrow = [allow(&["workflow:Exec"], Some(&["pool/ml-a"]))];
    let nothing: [Policy; 0] = [];
    type Roles<'a> = Vec<(&'a str, &'a [Policy])>;
    let table: Vec<(Roles<'_>, &str, Verdict<'_>)> = vec![
        (vec![], "workflow:Exec", Verdict::NoPolicy),
        (vec![("nothing", &nothing)], "workflow:Exec", Verdict::NoPolicy),
        (vec![("narrow", &narrow)], "workflow:Exec pool/b", Verdict::NoPolicy),
        (
            vec![("narrow", &narrow)],
            "workflow:Exec pool/ml-a",
            Verdict::Decided(Effect::Allow, "narrow", 0),
        ),
        // The Deny wins wherever it stands: before, between or after what allows.
        (
            vec![("brake", &brake), ("wide", &wide)],
            "workflow:Exec pool/ml-a",
            Verdict::Decided(Effect::Deny, "brake", 1),
        ),
        (
            vec![("narrow", &narrow), ("wide", &wide), ("zbrake", &brake)],
            "workflow:Exec pool/ml-a",
            Verdict::Decided(Effect::Deny, "zbrake", 1),
        ),
        // It denies no other resource, and a request without one by its action alone.
        (
            vec![("brake", &brake), ("wide", &wide)],
            "workflow:Exec pool/x",
            Verdict::Decided(Effect::Allow, "wide", 0),
        ),
        (
            vec![("brake", &brake), ("wide", &wide)],
            "workflow:Exec",
            Verdict::Decided(Effect::Deny, "brake", 1),
        ),
        // Of several that allow the first role is named.
        (
            vec![("narrow", &narrow), ("wide", &wide)],
            "workflow:Exec pool/ml-a",
            Verdict::Decided(Effect::Allow, "narrow", 0),
        ),
    ];
    for (roles, asked, wanted) in table {
        let (action, resource) = request(asked);
        let verdict = decide(roles.iter().copied(), &action, resource.as_ref(), None);
        assert_eq!(verdict, wanted, "{asked}");
        assert_eq!(verdict.is_allow(), matches!(wanted, Verdict::Decided(Effect::Allow, _, _)));
    }
}

#[test]
fn a_deny_without_resources_denies_nothing_on_a_resource() {
    let roles = [allow(&["workflow:*"], Some(&["*"])), deny(&["workflow:*"], None)];
    let asked = |text: &str| {
        let (action, resource) = request(text);
        decide([("role", &roles[..])], &action, resource.as_ref(), None).is_allow()
    };
    assert!(asked("workflow:Exec pool/a"));
    assert!(!asked("workflow:Exec"));
}

#[test]
fn the_catalog_has_a_row_for_what_some_policy_speaks_of_and_none_for_the_rest() {
    let catalog: Vec<_> = ["pool:List", "workflow:Exec pool/a", "workflow:Exec pool/b", "x:Y"]
        .into_iter()
        .map(request)
        .collect();
    let one = [allow(&["workflow:*", "pool:List"], Some(&["pool/*"]))];
    let two = [deny(&["workflow:Exec"], Some(&["pool/b"]))];
    let decisions = decide_catalog(&[("one", &one), ("two", &two)], &catalog, None);
    assert_eq!(
        decisions,
        [
            Decision { request: 0, effect: Effect::Allow, role: "one" },
            Decision { request: 1, effect: Effect::Allow, role: "one" },
            Decision { request: 2, effect: Effect::Deny, role: "two" },
        ]
    );
    assert_eq!(decide_catalog(&[], &catalog, None), []);
}

// ---- some resource of a scope -------------------------------------------------------------------

#[test]
fn some_resource_is_allowed_where_an_allow_could_match_one_and_no_deny_covers_the_scope() {
    let read = &["workflow:Read"][..];
    let other = &["workflow:Exec", "pool:*"][..];
    let all = allow(&["*:*"], Some(&["*"]));
    for (policies, by) in [
        (vec![], None),
        (vec![allow(read, Some(&["pool/ml"]))], Some(0)),
        (vec![allow(read, Some(&["pool/ml-*"]))], Some(0)),
        (vec![allow(read, Some(&["pool/*"]))], Some(0)),
        (vec![allow(read, Some(&["pool/a/b*"]))], Some(0)),
        (vec![allow(&["*:Read"], Some(&["*"]))], Some(0)),
        (vec![allow(read, Some(&["config/*", "pool/x"]))], Some(0)),
        // Another action, another scope, one that only begins like it, none.
        (vec![allow(other, Some(&["pool/*"]))], None),
        (vec![allow(read, Some(&["config/*"]))], None),
        (vec![allow(read, Some(&["pool2/*", "poo/*", "Pool/*", "pool2/pool/*"]))], None),
        (vec![allow(read, None)], None),
        // What does not cover the scope takes away single resources, which the upstream narrows.
        (vec![deny(read, Some(&["pool/ml-*", "pool/x", "config/*"])), all.clone()], Some(1)),
        (vec![deny(read, None), all.clone()], Some(1)),
        (vec![deny(other, Some(&["*"])), all.clone()], Some(1)),
        (vec![allow(read, Some(&["pool/x"])), deny(read, Some(&["pool/x"]))], Some(0)),
        // What covers it denies, wherever it stands.
        (vec![deny(read, Some(&["*"])), all.clone()], Some(0)),
        (vec![deny(read, Some(&["pool/*"])), all.clone()], Some(0)),
        (vec![all.clone(), deny(&["workflow:*"], Some(&["x/y", "pool/*"]))], Some(1)),
        (vec![deny(read, Some(&["pool/*"]))], Some(0)),
    ] {
        let roles = || [("role", policies.as_slice())];
        let verdict = decide_some(roles(), &"workflow:Read".parse().unwrap(), "pool", None);
        let expected = by.map_or(Verdict::NoPolicy, |place| {
            Verdict::Decided(policies[place].effect, "role", place)
        });
        assert_eq!(verdict, expected, "{policies:?}");
    }
}

#[test]
fn some_resource_names_the_first_role_that_allows_and_any_role_that_denies() {
    let yes = [allow(&["a:B"], Some(&["s/x"]))];
    let no = [deny(&["a:B"], Some(&["s/*"]))];
    let action = "a:B".parse().unwrap();
    let ask = |roles: &[(&'static str, &'static [Policy])]| {
        decide_some(roles.iter().copied(), &action, "s", None)
    };
    let (yes, no): (&'static [Policy], &'static [Policy]) =
        (yes.to_vec().leak(), no.to_vec().leak());
    assert_eq!(ask(&[("a", yes), ("b", yes)]), Verdict::Decided(Effect::Allow, "a", 0));
    assert_eq!(ask(&[("a", yes), ("b", no)]), Verdict::Decided(Effect::Deny, "b", 0));
    assert_eq!(ask(&[]), Verdict::NoPolicy);
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let patterns = vec!["*", "pool/*", "pool/a*", "pool/a", "pool/a/*", "config/*", "config/a"];
    (
        any::<bool>(),
        prop::sample::select(vec!["a:B", "a:*", "*:*", "c:D"]),
        prop::option::of(prop::sample::subsequence(patterns, 1..4)),
    )
        .prop_map(|(yes, action, resources)| {
            let effect = if yes { Effect::Allow } else { Effect::Deny };
            policy(effect, &[action], resources.as_deref())
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// The gateway is never narrower than the upstream that narrows it, and nobody passes to whom
    /// every resource of the scope is refused by one policy or by the lack of any.
    #[test]
    fn who_may_act_on_one_resource_may_act_on_some(
        policies in prop::collection::vec(any_policy(), 0..5),
    ) {
        let action: Action = "a:B".parse().unwrap();
        let roles = || [("role", policies.as_slice())];
        let some = decide_some(roles(), &action, "pool", None).is_allow();
        let names = ["pool/a", "pool/ab", "pool/a/b", "pool/b", "pool/zzz"];
        let on = |name: &&str| {
            let resource: Resource = name.parse().unwrap();
            decide(roles(), &action, Some(&resource), None)
        };
        prop_assert!(some || !names.iter().any(|name| on(name).is_allow()), "{:?}", policies);
        let silent = names.iter().all(|name| on(name) == Verdict::NoPolicy);
        prop_assert!(!(some && silent), "{:?}", policies);
    }
}

// ---- whoever asks -------------------------------------------------------------------------------

/// What the text of a pattern means, read off it: `${self}` is the whole id and the whole name.
fn naive(pattern: &str, resource: &str, me: Option<&str>) -> bool {
    if let (Some(scope), Some(me)) = (pattern.strip_suffix("${self}"), me) {
        return resource == format!("{scope}{me}");
    }
    match pattern.strip_suffix('*') {
        Some(start) => resource.starts_with(start),
        None => resource == pattern,
    }
}

/// Ids and names that are each other's beginnings, and names that would be patterns.
const SELVES: [&str; 12] =
    ["a", "ann", "ann*", "*", "a/*", "a/b", "ann/x", "annie", "Ann", "${self}", "user/a", "ü"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_callers_own_is_what_is_named_exactly_so_whatever_the_name_holds(
        policies in prop::collection::vec(
            (
                any::<bool>(),
                prop::sample::subsequence(
                    vec!["user/${self}", "home/${self}", "user/a*", "user/ann", "home/*", "*"],
                    1..4,
                ),
            ),
            0..4,
        ),
        me in prop::option::weighted(0.9, prop::sample::select(SELVES.to_vec())),
        scope in prop::sample::select(vec!["user", "home", "us"]),
        id in prop::sample::select(SELVES.to_vec()),
    ) {
        let action: Action = "auth:Token".parse().unwrap();
        let text = format!("{scope}/{id}");
        let Ok(resource) = text.parse::<Resource>() else {
            let refused = id.contains('*') || id.contains("${self}");
            prop_assert!(refused, "{}", text);
            return Ok(());
        };
        let parsed: Vec<Policy> = policies
            .iter()
            .map(|(yes, resources)| {
                policy(if *yes { Effect::Allow } else { Effect::Deny }, &["auth:*"], Some(resources))
            })
            .collect();
        let says = |effect: Effect| {
            parsed.iter().zip(&policies).position(|(parsed, (_, resources))| {
                parsed.effect == effect && resources.iter().any(|it| naive(it, &text, me))
            })
        };
        let expected = match (says(Effect::Deny), says(Effect::Allow)) {
            (Some(place), _) => Verdict::Decided(Effect::Deny, "role", place),
            (None, Some(place)) => Verdict::Decided(Effect::Allow, "role", place),
            (None, None) => Verdict::NoPolicy,
        };
        let roles = [("role", parsed.as_slice())];
        prop_assert_eq!(decide(roles, &action, Some(&resource), me), expected);
        // What is stored for a role set says the same to each of those who share it.
        let catalog = [(action.clone(), Some(resource.clone()))];
        let each = effects(&parsed, &catalog);
        let said = combined(&[&each], 0);
        let mine = if me == Some(id) { said.own } else { said.others };
        let expected = match expected {
            Verdict::Decided(effect, ..) => Some(effect),
            Verdict::NoPolicy => None,
        };
        prop_assert_eq!(mine.map(|(effect, _)| effect), expected);
    }
}

#[test]
fn somebody_may_act_on_some_resource_where_one_could_be_their_own() {
    let own = [allow(&["auth:Token"], Some(&["user/${self}"]))];
    let none = [allow(&["*:*"], Some(&["*"])), deny(&["auth:Token"], Some(&["user/${self}"]))];
    let action = "auth:Token".parse().unwrap();
    let ask = |policies: &[Policy], scope, me| {
        decide_some([("role", policies)], &action, scope, me).is_allow()
    };
    assert!(ask(&own, "user", Some("ann")));
    assert!(!ask(&own, "user", None), "nobody has a name");
    assert!(!ask(&own, "use", Some("ann")));
    assert!(ask(&none, "user", Some("ann")), "others' are left");
}

// ---- what the configuration refuses and warns of ------------------------------------------------

/// A configuration with a source, one role and a catalog.
fn configured(policy: &str, catalog: &str) -> Result<config::Config, String> {
    let text = format!(
        "[store]\npath = \"store.db\"\n\n\
         [[source]]\nname = \"s\"\nkind = \"file\"\nrealm_export = \"realm.json\"\n\n\
         [roles.r]\nexternal_roles = [\"r\"]\n[[roles.r.policies]]\n{policy}\n\n[[catalog]]\n{catalog}\n"
    );
    config::parse(&text, Path::new("test.toml"), &idpsyncd::source::kinds())
        .map_err(|faults| faults.to_string())
}

#[test]
fn what_cannot_be_understood_is_a_configuration_error_and_never_skipped() {
    let good = "actions = [\"workflow:*\"]\nresources = [\"pool/*\"]";
    let asked = "actions = [\"workflow:Exec\"]\nresources = [\"pool/a\"]";
    assert!(configured(good, asked).is_ok());
    for (policy, catalog, key) in [
        ("actions = []", asked, "roles.r.policies[1].actions"),
        ("actions = [\"a:B\"]\nresources = []", asked, "roles.r.policies[1].resources"),
        ("resources = [\"pool/*\"]", asked, "roles.r.policies[1]"),
        ("actions = [\"workflow\"]", asked, "roles.r.policies[1].actions[1]"),
        ("actions = [\"a:B\", \"a:B*\"]", asked, "roles.r.policies[1].actions[2]"),
        ("actions = [\"a:B\"]\nresources = [\"pool\"]", asked, "roles.r.policies[1].resources[1]"),
        ("effect = \"allow\"\nactions = [\"a:B\"]", asked, "roles.r.policies[1].effect"),
        (good, "actions = []", "catalog[1].actions"),
        (good, "actions = [\"a:B\"]\nresources = []", "catalog[1].resources"),
        (good, "actions = [\"a:*\"]", "catalog[1].actions[1]"),
        (good, "actions = [\"a:B\"]\nresources = [\"pool/*\"]", "catalog[1].resources[1]"),
    ] {
        let report = configured(policy, catalog).unwrap_err();
        assert!(report.contains(key), "{policy} / {catalog}: {report}");
    }
}

#[test]
fn a_deny_without_resources_is_warned_of_where_the_catalog_gives_its_action_one() {
    let asked = "actions = [\"workflow:Exec\"]\nresources = [\"pool/a\"]";
    let deny = "effect = \"Deny\"\nactions = [\"workflow:Exec\"]";
    let warnings = configured(deny, asked).unwrap().warnings();
    let about = |warnings: &[String]| warnings.iter().any(|w| w.contains("denies nothing there"));
    assert!(about(&warnings), "{warnings:?}");
    for (policy, catalog) in [
        (format!("{deny}\nresources = [\"*\"]"), asked),
        (deny.to_owned(), "actions = [\"workflow:Exec\"]"),
        (deny.replace("Exec", "Other"), asked),
        (deny.replace("Deny", "Allow"), asked),
    ] {
        let warnings = configured(&policy, catalog).unwrap().warnings();
        assert!(!about(&warnings), "{policy} / {catalog}: {warnings:?}");
    }
}

// ---- the same questions put to Cedar -----------------------------------------------------------

/// A policy as it stands in a configuration: texts only, so that neither side reads it off the
/// other's parsed form.
#[derive(Clone, Debug)]
struct Written {
    effect: Effect,
    actions: Vec<String>,
    resources: Option<Vec<String>>,
}

/// The design's section 8 in Cedar's words. A pattern's `*` is the `*` of Cedar's `like`: an action
/// holds exactly one `:`, and a resource pattern's `*` stands for any rest.
fn in_cedar(role: &str, written: &Written) -> String {
    let like = |what: &str, patterns: &[String]| -> String {
        let each: Vec<String> =
            patterns.iter().map(|p| format!("context.{what} like \"{p}\"")).collect();
        each.join(" || ")
    };
    let effect = match written.effect {
        Effect::Allow => "permit",
        Effect::Deny => "forbid",
    };
    let about = match &written.resources {
        None => "!(context has resource)".to_owned(),
        Some(patterns) => format!("!(context has resource) || {}", like("resource", patterns)),
    };
    format!(
        "{effect}(principal in Role::\"{role}\", action, resource) when {{ ({}) && ({about}) }};",
        like("action", &written.actions)
    )
}

/// Pieces few enough that most policies speak of some requests.
struct Dice(fastrand::Rng);

impl Dice {
    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.0.usize(..list.len())]
    }

    fn action(&mut self) -> String {
        let kind = self.of(&["workflow", "pool", "Pool"]);
        format!("{kind}:{}", self.of(&["Create", "List", "Read"]))
    }

    fn action_pattern(&mut self) -> String {
        let kind = self.of(&["*", "workflow", "workflow", "pool", "pool", "Pool"]);
        format!("{kind}:{}", self.of(&["*", "Create", "List", "Read"]))
    }

    fn resource(&mut self) -> String {
        let scope = self.of(&["pool", "config", "poo"]);
        format!(
            "{scope}/{}",
            self.of(&["ml", "ml-a", "ml-a/b", "ml/a", "l", "x", "ML", "/", "a/ml"])
        )
    }

    fn resource_pattern(&mut self) -> String {
        if self.0.u8(..8) == 0 {
            return "*".to_owned();
        }
        let scope = self.of(&["pool", "pool", "config", "poo"]);
        let id =
            self.of(&["*", "*", "ml*", "ml-*", "ml/*", "ml-a", "ml-a/b", "ml", "x", "a/*", "/*"]);
        format!("{scope}/{id}")
    }

    fn some(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> String) -> Vec<String> {
        (0..self.0.usize(1..=most)).map(|_| one(self)).collect()
    }

    fn policy(&mut self) -> Written {
        Written {
            effect: if self.0.u8(..3) == 0 { Effect::Deny } else { Effect::Allow },
            actions: self.some(2, Dice::action_pattern),
            resources: (self.0.u8(..4) != 0).then(|| self.some(3, Dice::resource_pattern)),
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn cedar_decides_the_same_and_for_the_same_policies() {
    const SETS: usize = 300;
    const REQUESTS: usize = 30;
    let mut dice = Dice(fastrand::Rng::with_seed(8));
    let authorizer = cedar_policy::Authorizer::new();
    let (mut allowed, mut denied_by_deny, mut unspoken, mut without_resource) = (0, 0, 0, 0);
    for set in 0..SETS {
        let names = ["r0", "r1", "r2", "r3"];
        let roles: Vec<(&str, Vec<Written>)> = names
            .into_iter()
            .map(|name| (name, (0..dice.0.usize(..=3)).map(|_| dice.policy()).collect()))
            .collect();

        let mut cedar = cedar_policy::PolicySet::new();
        for (role, policies) in &roles {
            for (position, written) in policies.iter().enumerate() {
                let id = cedar_policy::PolicyId::new(format!("{role} {position}"));
                let text = in_cedar(role, written);
                cedar.add(cedar_policy::Policy::parse(Some(id), text).unwrap()).unwrap();
            }
        }
        let ours: Vec<(&str, Vec<Policy>)> = roles
            .iter()
            .map(|(role, policies)| {
                let parse = |w: &Written| {
                    let texts = |list: &[String]| -> Vec<String> { list.to_vec() };
                    let (actions, resources) =
                        (texts(&w.actions), w.resources.as_deref().map(texts));
                    policy(
                        w.effect,
                        &actions.iter().map(String::as_str).collect::<Vec<_>>(),
                        resources
                            .as_ref()
                            .map(|list| list.iter().map(String::as_str).collect::<Vec<_>>())
                            .as_deref(),
                    )
                };
                (*role, policies.iter().map(parse).collect())
            })
            .collect();

        for _ in 0..REQUESTS {
            let held: Vec<&(&str, Vec<Policy>)> =
                ours.iter().filter(|_| dice.0.u8(..3) != 0).collect();
            let action = dice.action();
            let resource = (dice.0.u8(..4) != 0).then(|| dice.resource());

            let answer = ask_cedar(
                &authorizer,
                &cedar,
                held.iter().map(|(role, _)| *role),
                &action,
                resource.as_deref(),
            );
            let parsed: (Action, Option<Resource>) = (
                action.parse().unwrap(),
                resource.as_ref().map(|resource| resource.parse().unwrap()),
            );
            let held: Vec<(&str, &[Policy])> =
                held.iter().map(|(role, policies)| (*role, policies.as_slice())).collect();
            let verdict = decide(held.iter().copied(), &parsed.0, parsed.1.as_ref(), None);
            let asked = format!(
                "set {set}: {action} {resource:?} with {:?} of {roles:#?}",
                held.iter().map(|(role, _)| role).collect::<Vec<_>>()
            );
            assert_eq!(verdict.is_allow(), answer.allow, "{asked}: {verdict:?}");
            // Cedar names every policy that made the decision; here it is the first of them.
            let named = match verdict {
                Verdict::Decided(_, role, position) => Some(format!("{role} {position}")),
                Verdict::NoPolicy => None,
            };
            assert_eq!(named.as_ref(), answer.reasons.first(), "{asked}");

            let rows = decide_catalog(&held, std::slice::from_ref(&parsed), None);
            let row_allows = rows.iter().any(|row| row.effect == Effect::Allow);
            let catalog = std::slice::from_ref(&parsed);
            let each: Vec<_> =
                held.iter().map(|(_, policies)| effects(policies, catalog)).collect();
            let each: Vec<_> = each.iter().map(Vec::as_slice).collect();
            let combined = combined(&each, 0).others.map(|(effect, place)| (effect, held[place].0));
            let decided = match verdict {
                Verdict::Decided(effect, role, _) => Some((effect, role)),
                Verdict::NoPolicy => None,
            };
            assert_eq!(combined, decided, "{asked}");
            assert_eq!(row_allows, answer.allow, "{asked}: {rows:?}");

            without_resource += usize::from(parsed.1.is_none());
            match verdict {
                Verdict::Decided(Effect::Allow, ..) => allowed += 1,
                Verdict::Decided(Effect::Deny, ..) => denied_by_deny += 1,
                Verdict::NoPolicy => unspoken += 1,
            }
        }
    }
    // Agreement about nothing would prove nothing.
    let all = SETS * REQUESTS;
    for (what, seen) in [
        ("allowed", allowed),
        ("denied by a Deny", denied_by_deny),
        ("spoken of by no policy", unspoken),
        ("without a resource", without_resource),
    ] {
        assert!(seen > all / 10, "{what}: {seen} of {all}");
    }
}

struct Answer {
    allow: bool,
    /// The policies that made it, in order.
    reasons: BTreeSet<String>,
}

fn ask_cedar<'a>(
    authorizer: &cedar_policy::Authorizer,
    policies: &cedar_policy::PolicySet,
    roles: impl Iterator<Item = &'a str>,
    action: &str,
    resource: Option<&str>,
) -> Answer {
    use cedar_policy::{Context, Decision, Entities, Entity, EntityUid, Request};
    let uid = |text: &str| -> EntityUid { text.parse().unwrap() };
    let parents: HashSet<EntityUid> = roles.map(|role| uid(&format!("Role::\"{role}\""))).collect();
    let user = Entity::new_no_attrs(uid("User::\"someone\""), parents);
    let entities = Entities::from_entities([user], None).unwrap();
    let mut context = serde_json::json!({ "action": action });
    if let Some(resource) = resource {
        context["resource"] = resource.into();
    }
    let request = Request::new(
        uid("User::\"someone\""),
        uid("Action::\"ask\""),
        uid("Thing::\"any\""),
        Context::from_json_value(context, None).unwrap(),
        None,
    )
    .unwrap();
    let response = authorizer.is_authorized(&request, policies, &entities);
    assert_eq!(response.diagnostics().errors().count(), 0, "{:?}", response.diagnostics());
    Answer {
        allow: response.decision() == Decision::Allow,
        reasons: response.diagnostics().reason().map(ToString::to_string).collect(),
    }
}
