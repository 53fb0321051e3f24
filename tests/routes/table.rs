//! Which route a request takes.

use proptest::prelude::*;

use idpsyncd::routes::{
    ActionIdx, Host, HostPattern, Matched, On, Origin, Path, Refused, RouteSpec, Routes, Segment,
    Shapes, Target, WEBSOCKET,
};

use super::gateway;

/// Routes `METHODS PATH ACTION [TARGET]`, methods joined by `|` or `any`, a target with a slash a
/// resource, without one a scope. Before the path may stand hosts, joined by `|`.
pub fn routes(lines: &[&str]) -> Routes {
    let mut text = String::new();
    for line in lines {
        let parts: Vec<&str> = line.split(' ').collect();
        text += "[[gateway.route]]\n";
        if parts[0] != "any" {
            let methods: Vec<&str> = parts[0].split('|').collect();
            text += &format!("methods = {methods:?}\n");
        }
        let (hosts, path) = parts[1].split_at(parts[1].find('/').unwrap());
        if !hosts.is_empty() {
            text += &format!("hosts = {:?}\n", hosts.split('|').collect::<Vec<_>>());
        }
        text += &format!("path = {path:?}\naction = {:?}\n", parts[2]);
        if let Some(target) = parts.get(3) {
            let key = if target.contains('/') { "resource" } else { "scope" };
            text += &format!("{key} = {target:?}\n");
        }
    }
    Routes::new(gateway(&text).route_specs()).unwrap()
}

/// `METHOD TARGET`, `+` after the method: an upgrade; before the target's slash may stand its host.
/// What is found: `ACTION [RESOURCE]`.
pub fn found(routes: &Routes, request: &str) -> Result<String, Refused> {
    let (method, target) = request.split_once(' ').unwrap();
    let websocket = method.ends_with('+');
    let (host, target) = target.split_at(target.find('/').unwrap());
    let host = Some(host).filter(|host| !host.is_empty());
    let host = host.map(|host| Host::parse(host).unwrap_or_else(|why| panic!("{host}: {why}")));
    let path = Path::parse(target).unwrap_or_else(|why| panic!("{target}: {why}"));
    let site = routes.site(host.as_ref())?;
    let matched = routes.find(site, method.trim_end_matches('+'), websocket, &path)?;
    let question = matched.question();
    let action = routes.actions().get(question.action).unwrap();
    assert_eq!(*action, matched.route.action);
    Ok(match question.on {
        On::Nothing => action.to_string(),
        On::Resource(resource) => {
            resource.parse::<idpsyncd::policy::Resource>().unwrap();
            format!("{action} {resource}")
        }
        On::SomeOf(scope) => format!("{action} some {scope}"),
    })
}

#[track_caller]
fn finds(routes: &Routes, request: &str, expected: &str) {
    assert_eq!(found(routes, request).unwrap(), expected, "{request}");
}

#[track_caller]
fn refuses(routes: &Routes, request: &str, why: &str) {
    assert_eq!(found(routes, request).unwrap_err().to_string(), why, "{request}");
}

#[test]
fn a_request_gets_its_action_and_the_resource_that_the_path_tells() {
    let routes = routes(&[
        "POST /pool/{pool}/workflow w:Create pool/{pool}",
        "GET /pool p:List",
        "GET /w/* w:Read pool",
        "any /x/{a}/{b} x:Y {b}/of-{a}/{b}",
        "GET / root:Read",
        "GET /fixed/{a} f:Read pool/fixed",
    ]);
    finds(&routes, "POST /pool/ml-a/workflow", "w:Create pool/ml-a");
    finds(&routes, "POST /pool/ml%2Da/workflow?x=/y", "w:Create pool/ml-a");
    finds(&routes, "GET /pool", "p:List");
    finds(&routes, "GET /w/1", "w:Read some pool");
    finds(&routes, "GET /w/1/2/3", "w:Read some pool");
    finds(&routes, "BREW /x/1/2", "x:Y 2/of-1/2");
    finds(&routes, "GET /", "root:Read");
    finds(&routes, "GET /fixed/y", "f:Read pool/fixed");
    assert_eq!(routes.actions().len(), 6);
    assert_eq!(routes.routes()[0].to_string(), "POST /pool/{pool}/workflow (gateway.route[1])");
    assert_eq!(routes.routes()[3].to_string(), "any method /x/{a}/{b} (gateway.route[4])");
}

#[test]
fn an_action_of_several_routes_has_one_place() {
    let routes = routes(&["GET /a t:A", "GET /b t:B", "GET /c t:A"]);
    let names: Vec<String> = routes.actions().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["t:A", "t:B"]);
    let places: Vec<ActionIdx> = routes.routes().iter().map(|route| route.index).collect();
    assert_eq!(places, [0, 1, 0].map(ActionIdx::new));
}

#[test]
fn the_most_specific_path_wins_whatever_the_order() {
    let mut lines = vec![
        "GET /* t:Rest",
        "GET /a/* t:A",
        "GET /a/{x} t:One",
        "GET /a/b t:B",
        "GET /a/*/c t:Any-c",
        "GET /a/{x}/c/* t:Any-c-rest",
        "GET /a/b/* t:B-rest",
        "GET /{x}/b/c t:X-b-c",
    ];
    for _ in 0..lines.len() {
        lines.rotate_left(1);
        let routes = routes(&lines);
        for (path, action) in [
            ("/z", "t:Rest"),
            ("/z/y", "t:Rest"),
            ("/a", "t:Rest"),
            ("/a/z", "t:One"),
            ("/a/b", "t:B"),
            ("/a/z/y", "t:A"),
            ("/a/z/c", "t:Any-c"),
            ("/a/z/c/d", "t:Any-c-rest"),
            // A literal counts from the left, before the number of segments.
            ("/a/b/c", "t:B-rest"),
            ("/z/b/c", "t:X-b-c"),
            ("/z/b/d", "t:Rest"),
        ] {
            finds(&routes, &format!("GET {path}"), action);
        }
    }
}

#[test]
fn the_most_specific_path_decides_alone() {
    let routes = routes(&[
        "POST /w/*/cancel w:Cancel pool",
        "GET /w/* w:Read pool",
        "any /* t:Rest",
        "any /w/x/y w:Any",
        "DELETE /w/x/* w:Delete",
        "PUT /w/{id} w:Update pool",
    ]);
    finds(&routes, "POST /w/a/cancel", "w:Cancel some pool");
    finds(&routes, "DELETE /w/x/cancel", "w:Delete");
    finds(&routes, "DELETE /w/x/y", "w:Any");
    finds(&routes, "PUT /w/a", "w:Update some pool");
    finds(&routes, "GET /w/a/b", "w:Read some pool");
    finds(&routes, "PROPFIND /v", "t:Rest");
    for (method, path, takes) in [
        ("GET", "/w/a/cancel", "POST"),
        ("HEAD", "/w/a/cancel", "POST"),
        ("post", "/w/a/cancel", "POST"),
        ("PROPFIND", "/w/a/cancel", "POST"),
        // The literal on the left is the more specific one, before the one at the end.
        ("POST", "/w/x/cancel", "DELETE"),
        ("GET", "/w/x/cancel", "DELETE"),
        ("GET", "/w/a", "PUT"),
        ("put", "/w/a", "PUT"),
        ("OPTIONS", "/w/a/b", "GET"),
        ("get", "/w/a/b", "GET"),
    ] {
        let why = format!("no route takes this method on this path; it takes {takes}");
        refuses(&routes, &format!("{method} {path}"), &why);
    }
}

#[test]
fn what_may_be_an_upgrade_is_to_be_allowed_as_both_where_the_path_has_both() {
    let routes = routes(&[
        "GET /both b:Get",
        "WEBSOCKET /both b:Upgrade",
        "any /any a:Any",
        "WEBSOCKET /any a:Upgrade",
        "WEBSOCKET /only/{x} o:Upgrade pool/{x}",
        "GET /plain p:Get",
        "POST /post p:Post",
        "any /* t:Rest",
        "WEBSOCKET /v/* v:Upgrade",
        "GET /v/x v:Get",
    ]);
    let either = |method: &str, target: &str| {
        let site = routes.site(None)?;
        let (first, also) = routes.find_either(site, method, &Path::parse(target).unwrap())?;
        let action = |matched: &Matched<'_>| matched.route.action.to_string();
        Ok::<_, Refused>((action(&first), also.as_ref().map(action)))
    };
    let one = |action: &str| (action.to_owned(), None);
    let two = |own: &str, upgrade: &str| (own.to_owned(), Some(upgrade.to_owned()));
    assert_eq!(either("GET", "/both").unwrap(), two("b:Get", "b:Upgrade"));
    assert_eq!(either("GET", "/any").unwrap(), two("a:Any", "a:Upgrade"));
    assert_eq!(either("GET", "/only/a").unwrap(), one("o:Upgrade"));
    assert_eq!(either("GET", "/plain").unwrap(), one("p:Get"));
    assert_eq!(either("GET", "/elsewhere").unwrap(), one("t:Rest"));
    // Whatever broader paths would make of it.
    assert_eq!(either("GET", "/v/x").unwrap(), one("v:Get"));
    assert_eq!(either("GET", "/v/y").unwrap(), one("v:Upgrade"));
    let takes = |methods: &[&str]| Refused::WrongMethod {
        takes: methods.iter().map(|method| (*method).to_owned()).collect(),
    };
    assert_eq!(either("GET", "/post"), Err(takes(&["POST"])));
    assert!(matches!(either("GET", "/only/*"), Err(Refused::NotConcrete { .. })));
}

#[test]
fn on_one_path_a_route_that_lists_the_method_goes_before_one_that_takes_any() {
    for lines in [["any /a/* t:Any", "GET /a/{x} t:One"], ["any /a/{x} t:One", "GET /a/* t:Any"]] {
        // Only on the same path: the path decides first.
        finds(&routes(&lines), "GET /a/b", "t:One");
    }
    for lines in [["any /a/* t:Any", "GET /a/* t:Get"], ["GET /a/* t:Get", "any /a/* t:Any"]] {
        let routes = routes(&lines);
        finds(&routes, "GET /a/b", "t:Get");
        finds(&routes, "GET+ /a/b", "t:Get");
        finds(&routes, "PUT /a/b", "t:Any");
    }
}

#[test]
fn methods_compare_exactly_and_head_is_not_get() {
    let routes =
        routes(&["GET /a t:Read", "GET|HEAD /b t:Read", "any /c t:Read", "WEBSOCKET /d t:W"]);
    let why = "no route takes this method on this path; it takes GET";
    for method in ["HEAD", "get", "Get", "GETS", "GE", "OPTIONS", "*", "any"] {
        refuses(&routes, &format!("{method} /a"), why);
    }
    finds(&routes, "HEAD /b", "t:Read");
    finds(&routes, "HEAD /c", "t:Read");
    finds(&routes, "get /c", "t:Read");
    // Nobody becomes an upgrade by a method of that name.
    refuses(&routes, "WEBSOCKET /d", "no route takes this method on this path; it takes WEBSOCKET");
    let site = routes.site(None).unwrap();
    let nothing = routes.find(site, "", false, &Path::parse("/c").unwrap());
    assert!(matches!(nothing, Err(Refused::WrongMethod { .. })));
}

#[test]
fn an_upgrade_counts_as_websocket_as_well_as_its_own_method() {
    let routes = routes(&[
        "POST|WEBSOCKET /w/*/exec w:Exec pool",
        "GET /w/* w:Read pool",
        "GET /same t:Get",
        "WEBSOCKET /same t:Upgrade",
        "any /port/* p:Forward",
        "GET /port/here p:Read",
        "WEBSOCKET /v/* v:Upgrade",
        "GET /v/x v:Read",
        "any /w/*/exec w:Other",
        "any /v/x v:Any",
    ]);
    finds(&routes, "GET /w/a/exec", "w:Other");
    finds(&routes, "GET+ /w/a/exec", "w:Exec some pool");
    finds(&routes, "POST /w/a/exec", "w:Exec some pool");
    finds(&routes, "GET /w/a/cancel", "w:Read some pool");
    // No route of that path takes an upgrade, so it is what its own method says.
    finds(&routes, "GET+ /w/a/logs", "w:Read some pool");
    // On one path the upgrade wins, whatever the order.
    finds(&routes, "GET /same", "t:Get");
    finds(&routes, "GET+ /same", "t:Upgrade");
    finds(&routes, "BREW+ /same", "t:Upgrade");
    // Any is any.
    finds(&routes, "GET+ /port/x", "p:Forward");
    // The most specific path decides.
    finds(&routes, "GET+ /port/here", "p:Read");
    finds(&routes, "GET+ /v/x", "v:Read");
    finds(&routes, "POST+ /v/y", "v:Upgrade");
    // A listed method before any.
    finds(&routes, "POST+ /v/x", "v:Any");
    finds(&routes, "DELETE+ /w/a/exec", "w:Exec some pool");
    refuses(&routes, "POST /v/y", "no route takes this method on this path; it takes WEBSOCKET");
}

#[test]
fn what_no_route_names_is_refused_and_said() {
    let routes = routes(&["GET /a/{x} t:A pool/{x}", "GET /b/* t:B", "GET /c t:C"]);
    for path in ["/", "/a", "/a/b/c", "/b", "/C", "/cc", "/c/d", "/{x}", "/a.b"] {
        refuses(&routes, &format!("GET {path}"), "no route names this path");
    }
    let slash = "the path ends in `/`, and no route does";
    for path in ["/a/", "/a/b/", "/b/", "/b/c/", "/c/", "/c/?x"] {
        refuses(&routes, &format!("GET {path}"), slash);
    }
    let parameters = "a segment of the path holds a `;`, which servers read in different ways";
    for path in ["/a/b;c", "/a/b%3bc", "/b/c;d/e", "/c;x", "/c;", "/;/c", "/a;x/b"] {
        refuses(&routes, &format!("GET {path}"), parameters);
    }
}

#[test]
fn what_the_path_tells_must_make_a_concrete_resource() {
    let routes = routes(&["GET /a/{x} t:A pool/{x}", "GET /b/{x} t:B", "GET /c/* t:C pool"]);
    let why =
        "the path tells no concrete resource for `pool/{x}`: a `*` or white space is in its place";
    for path in ["/a/*", "/a/ml-*", "/a/%2A", "/a/a%20b", "/a/%20", "/a/a%C2%A0b", "/a/%E2%80%A8"] {
        refuses(&routes, &format!("GET {path}"), why);
    }
    // Where it makes none, it is only a path.
    finds(&routes, "GET /b/*", "t:B");
    finds(&routes, "GET /c/a%20b", "t:C some pool");
    finds(&routes, "GET /a/$%7Bteam%7D", "t:A pool/${team}");
    finds(&routes, "GET /a/%7Bx%7D", "t:A pool/{x}");
}

#[test]
fn a_path_of_very_many_segments_is_answered() {
    let routes = routes(&["GET /a/* t:A", "GET /*/a/* t:B", "GET /*/*/a t:C"]);
    let deep = "/a".repeat(idpsyncd::routes::path::MAX_PATH / 2 - 2);
    finds(&routes, &format!("GET {deep}"), "t:A");
    refuses(&routes, &format!("GET /b/b{deep}"), "no route names this path");
}

// ---- against a matcher that looks at every route -----------------------------------------------

/// How specific each segment is, the smaller the more; `None` where the path does not fit.
fn ranks(route: &RouteSpec, path: &[&str]) -> Option<Vec<u8>> {
    let open = route.segments.last() == Some(&Segment::Any);
    let fits =
        if open { path.len() >= route.segments.len() } else { path.len() == route.segments.len() };
    if !fits {
        return None;
    }
    let last = route.segments.len();
    route
        .segments
        .iter()
        .zip(path)
        .enumerate()
        .map(|(at, (segment, text))| match segment {
            Segment::Literal(own) if own == text => Some(0),
            Segment::Literal(_) => None,
            Segment::Any if at + 1 == last => Some(2),
            Segment::Any | Segment::Capture(_) => Some(1),
        })
        .collect()
}

/// The routes that a host leaves: those of the longest pattern that fits, else those without hosts.
fn of_host<'a>(all: &'a [(Origin, RouteSpec)], host: &str) -> Vec<&'a (Origin, RouteSpec)> {
    let fits = |pattern: &&HostPattern| match pattern {
        HostPattern::Exactly(name) => host == name,
        HostPattern::Below(name) => host.ends_with(&format!(".{name}")),
    };
    let long = |pattern: &&HostPattern| match pattern {
        HostPattern::Exactly(_) => usize::MAX,
        HostPattern::Below(name) => name.len(),
    };
    let named = all.iter().flat_map(|(_, route)| &route.hosts).filter(fits).max_by_key(long);
    let of = |route: &RouteSpec| match named {
        Some(pattern) => route.hosts.contains(pattern),
        None => route.hosts.is_empty(),
    };
    all.iter().filter(|(_, route)| of(route)).collect()
}

/// The most specific path first, then the method among its routes.
fn naive(
    all: &[&(Origin, RouteSpec)],
    method: &str,
    websocket: bool,
    path: &[&str],
) -> Option<Origin> {
    let lists = |route: &RouteSpec, method: &str| route.methods.iter().any(|own| own == method);
    let best = all.iter().filter_map(|(_, route)| ranks(route, path)).min()?;
    all.iter()
        .filter(|(_, route)| ranks(route, path).as_ref() == Some(&best))
        .filter_map(|(origin, route)| {
            match (websocket && lists(route, WEBSOCKET), lists(route, method)) {
                (true, _) => Some((0, *origin)),
                (_, true) => Some((1, *origin)),
                _ => route.methods.is_empty().then_some((2, *origin)),
            }
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, origin)| origin)
}

fn template() -> impl Strategy<Value = Vec<Segment>> {
    let segment = prop_oneof![
        3 => prop::sample::select(vec!["a", "b", "c"]).prop_map(|t| Segment::Literal(t.to_owned())),
        1 => Just(Segment::Any),
        1 => Just(Segment::Capture("x".to_owned())),
    ];
    prop::collection::vec(segment, 0..5)
}

fn method_lists() -> impl Strategy<Value = Vec<String>> {
    let names = prop::sample::subsequence(vec!["GET", "POST", WEBSOCKET], 0..3);
    names.prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

const HOSTS: [&str; 6] = ["a.test", "*.test", "b.a.test", "*.a.test", "*.b.a.test", "c.test"];

fn host_lists() -> impl Strategy<Value = Vec<HostPattern>> {
    let some = prop::sample::subsequence(HOSTS.to_vec(), 0..3);
    some.prop_map(|hosts| hosts.into_iter().map(|host| host.parse().unwrap()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_tree_finds_what_looking_at_every_route_finds(
        made in prop::collection::vec((template(), method_lists(), host_lists()), 1..16),
        asked in prop::collection::vec(
            (prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..6),
             prop::sample::select(vec!["GET", "POST", "PUT"]),
             any::<bool>(),
             prop::sample::select(vec!["a.test", "b.a.test", "x.b.a.test", "d.test", "test", "y.x.a.test"])),
            20,
        ),
    ) {
        // Routes that tie are refused when the configuration is read.
        let mut all: Vec<(Origin, RouteSpec)> = Vec::new();
        let mut shapes = Shapes::default();
        for (segments, methods, hosts) in made {
            let route = RouteSpec {
                methods,
                hosts,
                path: format!("{segments:?}"),
                segments,
                action: "t:A".parse().unwrap(),
                target: Target::Nothing,
            };
            if shapes.add(&route, String::new()).is_none() {
                all.push((Origin::Own(all.len() + 1), route));
            }
        }
        let routes = Routes::new(all.clone()).unwrap();
        for (path, method, websocket, host) in asked {
            let target = format!("/{}", path.join("/"));
            let site = routes.site(Some(&Host::parse(host).unwrap()));
            let found = site.and_then(|site| {
                routes.find(site, method, websocket, &Path::parse(&target).unwrap())
            });
            let left = of_host(&all, host);
            let expected = naive(&left, method, websocket, &path);
            prop_assert_eq!(found.as_ref().ok().map(|m| m.route.origin), expected, "{} {}{}", method, host, target);
            let some = left.iter().any(|(_, route)| ranks(route, &path).is_some());
            match found {
                Err(Refused::NoRoute) => prop_assert!(!some),
                Err(Refused::NoHost) => prop_assert!(left.is_empty()),
                Err(Refused::WrongMethod { .. }) => prop_assert!(some),
                other => prop_assert!(other.is_ok()),
            }
        }
    }
}
