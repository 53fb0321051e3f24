//! Hosts: which routes a request's host leaves, and which hosts are none.

use idpsyncd::config::parse;
use idpsyncd::routes::{BadHost, Host, Refused};

use super::gateway;
use super::table::{found, routes};

#[track_caller]
fn finds(routes: &idpsyncd::routes::Routes, request: &str, expected: &str) {
    assert_eq!(found(routes, request).unwrap(), expected, "{request}");
}

#[test]
fn the_most_specific_host_decides_alone_then_the_path() {
    let mut lines = vec![
        "GET a.test/x t:Exact",
        "GET *.test/x t:Wide",
        "GET *.test/only-wide t:Wide",
        "GET *.b.test/x t:Near",
        "GET c.b.test|*.d.test/x t:Both",
        "GET /x t:Rest",
        "GET /only-rest t:Rest",
        "GET a.test/x/{y} t:Below x/{y}",
    ];
    for _ in 0..lines.len() {
        lines.rotate_left(1);
        let routes = routes(&lines);
        assert!(routes.name_hosts());
        for (host, action) in [
            ("a.test", "t:Exact"),
            ("A.Test.", "t:Exact"),
            ("a.test:8080", "t:Exact"),
            ("z.test", "t:Wide"),
            ("y.z.test", "t:Wide"),
            ("b.test", "t:Wide"),
            ("z.b.test", "t:Near"),
            ("y.z.b.test", "t:Near"),
            ("c.b.test", "t:Both"),
            ("z.c.b.test", "t:Near"),
            ("d.test", "t:Wide"),
            ("z.d.test", "t:Both"),
            // Below a name is not the name.
            ("test", "t:Rest"),
            ("test.a", "t:Rest"),
            ("atest", "t:Rest"),
            ("127.0.0.1", "t:Rest"),
        ] {
            finds(&routes, &format!("GET {host}/x"), action);
        }
        finds(&routes, "GET a.test/x/1", "t:Below x/1");
        // Neither a broader host's routes nor those without hosts are asked.
        for request in ["GET a.test/only-wide", "GET a.test/only-rest", "GET z.test/only-rest"] {
            assert_eq!(found(&routes, request), Err(Refused::NoRoute), "{request}");
        }
        let wrong = found(&routes, "POST a.test/x");
        assert!(matches!(wrong, Err(Refused::WrongMethod { .. })), "{wrong:?}");
    }
}

#[test]
fn a_host_that_is_not_told_takes_no_route_where_routes_name_hosts() {
    let some = routes(&["GET a.test/x t:A", "GET /x t:Rest"]);
    assert_eq!(found(&some, "GET /x"), Err(Refused::HostNotTold));
    let all = routes(&["GET a.test/x t:A", "GET *.b.test/x t:B"]);
    assert_eq!(found(&all, "GET c.test/x"), Err(Refused::NoHost));
    assert_eq!(found(&all, "GET b.test/x"), Err(Refused::NoHost));
    // Where none does, no host decides anything.
    let none = routes(&["GET /x t:Rest"]);
    assert!(!none.name_hosts());
    for host in ["", "a.test", "xn--a.test"] {
        finds(&none, &format!("GET {host}/x"), "t:Rest");
    }
}

#[test]
fn a_name_in_another_script_is_taken_where_a_route_spells_it_out() {
    let routes = routes(&["GET xn--bcher-kva.test|*.test/x t:A", "GET /x t:Rest"]);
    finds(&routes, "GET xn--bcher-kva.test/x", "t:A");
    finds(&routes, "GET XN--BCHER-KVA.TEST/x", "t:A");
    for host in ["xn--pen-fka.test", "a.xn--pen-fka.test", "xn--a.other", "x.xn--bcher-kva.test"] {
        let request = format!("GET {host}/x");
        assert_eq!(found(&routes, &request), Err(Refused::International), "{host}");
    }
}

#[test]
fn a_host_is_read_in_one_way_or_not_at_all() {
    for (text, name, port) in [
        ("a.test", "a.test", None),
        ("A.Test.:65535", "a.test", Some(65535)),
        ("a", "a", None),
        ("a_b.test", "a_b.test", None),
        ("1.2.3.4:1", "1.2.3.4", Some(1)),
        ("1.2.3.4.", "1.2.3.4", None),
        ("[::1]:443", "[::1]", Some(443)),
        ("[2001:DB8:0:0::1]", "[2001:db8::1]", None),
        ("1a.2b", "1a.2b", None),
    ] {
        let host = Host::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!((host.name(), host.port()), (name, port), "{text}");
    }
    for (text, why) in [
        ("", BadHost::Empty),
        (":80", BadHost::Empty),
        (".", BadHost::EmptyLabel),
        ("a b", BadHost::Space),
        (" a", BadHost::Space),
        ("a\n", BadHost::Control),
        ("ä.test", BadHost::NotAscii),
        ("u@a", BadHost::Userinfo),
        ("http://a", BadHost::Url),
        ("a%2e", BadHost::Encoded),
        ("a,b", BadHost::Several),
        ("a*", BadHost::Character),
        ("a:", BadHost::Port),
        ("a:00080", BadHost::Port),
        ("::1", BadHost::Port),
        ("a..b", BadHost::EmptyLabel),
        ("-a", BadHost::Hyphen),
        ("127.1", BadHost::Number),
        ("[::1", BadHost::Brackets),
    ] {
        assert_eq!(Host::parse(text), Err(why), "{text:?}");
    }
    let label = "a".repeat(63);
    let long = [label.as_str(); 4].join(".");
    assert_eq!(Host::parse(&long), Err(BadHost::TooLong));
    assert!(Host::parse(&long[2..]).is_ok());
    assert_eq!(Host::parse(&format!("a{label}.b")), Err(BadHost::LongLabel));
}

/// The hosts of a route, as the configuration has read them; or the fault.
fn hosts(list: &str) -> Result<Vec<String>, String> {
    let text = format!(
        "[store]\npath = \"s\"\n[gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"header\"\n\
         [[gateway.route]]\nhosts = {list}\npath = \"/x\"\naction = \"t:A\"\n"
    );
    let config = parse(&text, std::path::Path::new("/t.toml"), &idpsyncd::source::kinds());
    let config = config.map_err(|faults| faults.to_string())?;
    let route = config.gateway.unwrap().routes.remove(0);
    Ok(route.hosts.iter().map(ToString::to_string).collect())
}

#[test]
fn hosts_in_a_configuration_are_those_that_a_request_could_have() {
    let read = hosts(r#"["OSMO.example.com.", "*.Lab.example.com", "[::1]", "10.0.0.1"]"#);
    assert_eq!(read.unwrap(), ["osmo.example.com", "*.lab.example.com", "[::1]", "10.0.0.1"]);
    for (list, why) in [
        ("[]", "empty list"),
        ("\"a.test\"", "list"),
        ("[1]", "string"),
        (r#"["*"]"#, "leave `hosts` out"),
        (r#"["*.*.test"]"#, "not its first label"),
        (r#"["a*.test"]"#, "not its first label"),
        (r#"["a.*.test"]"#, "not its first label"),
        (r#"["*.10.0.0.1"]"#, "before an address"),
        (r#"["a.test:443"]"#, "without it"),
        (r#"["bücher.test"]"#, "xn--"),
        (r#"["http://a.test"]"#, "a URL"),
        (r#"["a..test"]"#, "empty label"),
        (r#"["a.test", "A.test."]"#, "there already"),
    ] {
        let fault = hosts(list).unwrap_err();
        assert!(fault.contains(why), "{list}: {fault}");
        assert!(fault.contains("gateway.route[1].hosts"), "{list}: {fault}");
        assert!(fault.contains("/t.toml:7"), "{list}: {fault}");
    }
}

#[test]
fn routes_that_share_a_host_tie_and_others_do_not() {
    let tie = |lines: &[&str]| std::panic::catch_unwind(|| routes(lines)).err();
    let said = |lines: &[&str]| *tie(lines).unwrap().downcast::<String>().unwrap();
    for lines in [
        ["GET a.test/x t:A", "GET /x t:B"],
        ["GET a.test/x t:A", "GET b.test/x t:B"],
        ["GET a.test/x t:A", "GET *.test/x t:B"],
        ["any a.test/x t:A", "GET a.test/x t:B"],
        ["GET *.test/x t:A", "GET *.a.test/x t:B"],
    ] {
        assert!(tie(&lines).is_none(), "{lines:?}");
    }
    for (lines, on) in [
        (["GET a.test/x t:A", "GET A.test./x t:B"], "`GET` on `a.test/x`"),
        (["GET a.test|*.b.test/{y} t:A", "GET c.test|*.b.test/{z} t:B"], "`GET` on `*.b.test/{y}`"),
        (["any a.test/x t:A", "any a.test|b.test/x t:B"], "any method on `a.test/x`"),
    ] {
        let said = said(&lines);
        let tie = format!("is ambiguous: {on} is taken by gateway.route[1] already");
        assert!(said.contains(&tie), "{lines:?}: {said}");
    }
    // A route of a host does not compete with the preset's, which are for the others.
    let own = "preset = \"osmo\"\n[[gateway.route]]\nhosts = [\"a.test\"]\nmethods = [\"GET\"]\n\
               path = \"/api/pool\"\naction = \"t:A\"\n";
    let routes = idpsyncd::routes::Routes::new(gateway(own).route_specs()).unwrap();
    finds(&routes, "GET a.test/api/pool", "t:A");
    finds(&routes, "GET b.test/api/pool", "pool:List");
    assert_eq!(found(&routes, "GET a.test/api/users"), Err(Refused::NoRoute));
}

#[test]
fn a_route_shows_its_hosts() {
    let routes = routes(&["GET a.test|*.b.test/x t:A"]);
    assert_eq!(routes.routes()[0].to_string(), "GET a.test|*.b.test/x (gateway.route[1])");
}
