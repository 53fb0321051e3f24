//! Routes that nobody may take, and policies that no route asks for.

use idpsyncd::config::{GatewayConfig, parse};
use idpsyncd::model::diagnostic::texts;
use idpsyncd::routes::coverage::warnings;

const START: &str = "[store]\npath = \"s\"\n[[source]]\nname = \"a\"\nkind = \"file\"\n\
                     realm_export = \"r\"\n";
const GATEWAY: &str = "[gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"header\"\n";

fn told(lines: &str) -> Vec<String> {
    let text = format!("{START}{lines}");
    let config = parse(&text, std::path::Path::new("/t.toml"), &idpsyncd::source::kinds());
    let config = config.unwrap_or_else(|faults| panic!("{faults}\n{text}"));
    let routes = config.gateway.as_ref().map_or_else(Vec::new, GatewayConfig::route_specs);
    texts(&warnings(&routes, &config.settings()))
}

/// Whether the one Allow of a role (`of_role`) or template may ever take the one route.
fn reaches(header: &str, actions: &str, resources: &str, target: &str) -> bool {
    let resources = match resources {
        "" => String::new(),
        some => format!("resources = [{some:?}]\n"),
    };
    let told = told(&format!(
        "{header}actions = [{actions:?}]\n{resources}{GATEWAY}\
         [[gateway.route]]\npath = \"/p/{{x}}\"\naction = \"w:Read\"\n{target}\n"
    ));
    assert!(told.len() <= 2, "{told:?}");
    !told.iter().any(|told| told.contains("which no role allows"))
}

#[test]
fn a_route_is_told_of_where_no_allow_could_match_what_it_asks_for() {
    let role = "[roles.r]\n[[roles.r.policies]]\n";
    let template = "[[role_template]]\nname = 't-(?<t>[a-z]+)'\n[[role_template.policies]]\n";
    let denies = "[roles.r]\n[[roles.r.policies]]\neffect = \"Deny\"\n";
    let (none, some) = ("", "scope = \"pool\"");
    let (open, fixed) = ("resource = \"pool/m-{x}\"", "resource = \"pool/m\"");
    for (header, actions, resources, target, expected) in [
        (role, "w:Read", "", none, true),
        (role, "*:*", "", none, true),
        (role, "w:Write", "", none, false),
        (role, "w:Read", "pool/a", none, true),
        (denies, "w:Read", "", none, false),
        (role, "w:Read", "", some, false),
        (role, "w:Read", "pool/a", some, true),
        (role, "w:Read", "*", some, true),
        (role, "w:Read", "config/*", some, false),
        (role, "w:Read", "", open, false),
        (role, "w:Read", "*", open, true),
        (role, "w:Read", "pool/*", open, true),
        (role, "w:Read", "pool/m*", open, true),
        (role, "w:Read", "pool/m-a*", open, true),
        (role, "w:Read", "pool/m-a", open, true),
        (role, "w:Read", "pool/m", open, false),
        (role, "w:Read", "pool/n*", open, false),
        (role, "w:Read", "pool/m", fixed, true),
        (role, "w:Read", "pool/m*", fixed, true),
        (role, "w:Read", "pool/m-a", fixed, false),
        (template, "w:Read", "pool/${t}", some, true),
        (template, "w:Read", "config/${t}", some, false),
        (template, "w:Read", "pool/${t}-x", open, true),
        (template, "w:Read", "pool/m-${t}", open, true),
        (template, "w:Read", "pool/n-${t}", open, false),
        (template, "w:Read", "pool/${t}", fixed, true),
        // Only if the capture can be empty, which nobody looks into.
        (template, "w:Read", "pool/m${t}*", fixed, true),
        (template, "w:${t}", "pool/*", fixed, true),
        (template, "x:${t}", "pool/*", none, true),
        (template, "w:Write", "pool/*", fixed, false),
    ] {
        let got = reaches(header, actions, resources, target);
        assert_eq!(got, expected, "{header} {actions} {resources} on {target}");
    }
}

#[test]
fn what_is_told_names_route_action_resource_role_and_pattern() {
    let told = told(&format!(
        "[roles.r]\n[[roles.r.policies]]\nactions = [\"w:Read\", \"w:Raed\", \"x:*\"]\n\
         [[roles.r.policies]]\neffect = \"Deny\"\nactions = [\"z:Z\"]\n\
         [[role_template]]\nname = 't-(?<t>[a-z]+)'\n[[role_template.policies]]\n\
         actions = [\"v:Read\", \"v:${{t}}\"]\n\
         {GATEWAY}[[gateway.route]]\npath = \"/w\"\naction = \"w:Read\"\n\
         [[gateway.route]]\npath = \"/w/{{x}}\"\naction = \"w:Read\"\nresource = \"pool/{{x}}\"\n\
         [[gateway.route]]\npath = \"/v/*\"\naction = \"w:Wait\"\nscope = \"pool\"\n"
    ));
    assert_eq!(
        told,
        [
            "gateway.route[2] (`/w/{x}`) asks for `w:Read` on `pool/{x}`, which no role allows: \
             every such request is denied",
            "gateway.route[3] (`/v/*`) asks for `w:Wait` on any `pool`, which no role allows: \
             every such request is denied",
            "roles.r.policies[1] allows `w:Raed`, which no route asks for",
            "roles.r.policies[1] allows `x:*`, which no route asks for",
            "role_template[1].policies[1] allows `v:Read`, which no route asks for",
        ]
    );
}

#[test]
fn the_presets_routes_are_told_of_by_action() {
    let admin = "[roles.admin]\n[[roles.admin.policies]]\nactions = [\"*:*\"]\n";
    let osmo = format!("{GATEWAY}preset = \"osmo\"\n");
    assert_eq!(told(&format!("{admin}resources = [\"*\"]\n{osmo}")), Vec::<String>::new());
    // Without resources the admin may do nothing that is on one.
    let told = told(&format!("{admin}{osmo}"));
    assert_eq!(
        told[0],
        "preset `osmo` asks for `auth:Token` (`/api/auth/user/{user}/access_token` and 1 more), \
         which no role allows there: every such request is denied"
    );
    assert!(told.iter().all(|told| told.starts_with("preset `osmo` asks for ")), "{told:#?}");
    assert_eq!(told.len(), 17);
}

#[test]
fn nothing_is_told_where_there_is_no_route() {
    let role = "[roles.r]\n[[roles.r.policies]]\nactions = [\"w:Read\"]\n";
    assert_eq!(told(role), Vec::<String>::new());
    assert_eq!(told(&format!("{role}{GATEWAY}")), Vec::<String>::new());
}
