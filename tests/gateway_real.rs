//! Real gateways in front of a platform: Envoy, nginx, Caddy and HAProxy with the very files that the
//! repository ships, a real Keycloak that issues the tokens, and the real binary.
#![cfg(test)]

mod support;

use serde_json::{Value, json};
use support::gateways::{
    DpopClient, Got, HOST_ROUTES, Platform, Ports, Reached, Server, Wire, caddy, envoy, haproxy,
    host_lines, nginx, send, send_raw, shipped,
};
use support::idpsyncd::{Home, Idpsyncd};
use support::keycloak::{Keycloak, RIGHTS, Realm, wait};
use support::server::free_port;

const CREATE: &str = "/api/pool/ml-training/workflow";

/// A company in a realm: Ann of the ML team, Bob of no team.
struct Company<'k> {
    realm: Realm<'k>,
    ann: String,
    team: String,
    wire: Wire,
}

impl<'k> Company<'k> {
    fn new(keycloak: &'k Keycloak, name: &str) -> Company<'k> {
        let realm = keycloak.realm(name);
        realm.reader("idpsyncd", "secret", &RIGHTS);
        realm.post(
            "/clients",
            &json!({"clientId": "osmo-device", "enabled": true, "publicClient": true,
                "directAccessGrantsEnabled": true, "protocolMappers": [{
                    "name": "audience", "protocol": "openid-connect",
                    "protocolMapper": "oidc-audience-mapper", "config": {
                        "included.client.audience": "osmo-device",
                        "access.token.claim": "true", "id.token.claim": "false"}}]}),
        );
        let team = realm.group("ML", None);
        let ann = person(&realm, "ann");
        person(&realm, "bob");
        realm.join(&ann, &team);
        let port = keycloak.url.rsplit(':').next().unwrap().parse().unwrap();
        Company { realm, ann, team, wire: Wire::to(port) }
    }

    /// The server as everybody here sees it: over a wire that can be cut.
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.wire.port)
    }

    fn token(&self, user: &str) -> String {
        self.tokens(user)["access_token"].as_str().unwrap().to_owned()
    }

    /// What Keycloak answers to whoever signs in.
    fn tokens(&self, user: &str) -> Value {
        let url =
            format!("{}/realms/{}/protocol/openid-connect/token", self.url(), self.realm.name);
        let form = [
            ("grant_type", "password"),
            ("client_id", "osmo-device"),
            ("scope", "openid"),
            ("username", user),
            ("password", "pass"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let answer = wait(async move {
            reqwest::Client::new().post(url).form(&form).send().await.unwrap().text().await.unwrap()
        });
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["access_token"].is_string(), "{answer}");
        answer
    }

    fn home(&self, grpc: u16, http: u16) -> Home {
        let (url, realm) = (self.url(), &self.realm.name);
        Home::new(&format!(
            r#"
            [store]
            path = "store.db"
            [schedule]
            cron = "0 0 0 1 1 *"
            [[source]]
            name = "kc"
            kind = "keycloak"
            url = "{url}"
            realm = "{realm}"
            client_id = "idpsyncd"
            client_secret = {{ env = "KC_SECRET" }}
            clients = ["osmo-device"]
            [roles.osmo-default]
            everyone = true
            external_roles = []
            [[roles.osmo-default.policies]]
            actions = ["profile:*", "system:Health"]
            resources = ["*"]
            [roles.osmo-ml]
            sync_mode = "force"
            external_roles = ["ML"]
            [[roles.osmo-ml.policies]]
            actions = ["workflow:*"]
            resources = ["pool/ml-*"]
            [[catalog]]
            actions = ["workflow:Create"]
            resources = ["pool/ml-training", "pool/ml-inference", "pool/secret"]
            [gateway]
            grpc = "127.0.0.1:{grpc}"
            http = "127.0.0.1:{http}"
            identity = "jwt"
            preset = "osmo"
            provision = "lookup"
            [[gateway.jwt]]
            issuer = "{url}/realms/{realm}"
            audiences = ["osmo-device"]
            [[gateway.allowed]]
            header = "x-osmo-allowed-pools"
            action = "workflow:Create"
            scope = "pool"
            routes = ["profile:Read", "resources:Read"]
            "#
        ))
    }
}

fn person(realm: &Realm<'_>, name: &str) -> String {
    realm.user(
        name,
        json!({"firstName": name, "lastName": "Test", "email": format!("{name}@example.org"),
            "emailVerified": true,
            "credentials": [{"type": "password", "value": "pass", "temporary": false}]}),
    )
}

fn run(home: &Home) -> Idpsyncd {
    home.start_with("run", &[("KC_SECRET", std::path::Path::new("secret"))])
}

/// Which gateway, and where.
struct Gate<'a> {
    name: &'static str,
    port: u16,
    platform: &'a Platform,
}

impl Gate<'_> {
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Got {
        send(self.port, method, target.as_bytes(), headers)
    }

    fn as_user(&self, method: &str, target: &str, token: &str) -> Got {
        self.ask(method, target, &[("authorization", &format!("Bearer {token}"))])
    }

    /// The request is let pass; the headers that reached the platform.
    fn passes(&self, got: &Got) -> Value {
        assert_eq!(got.status, 200, "{}: {got:?}", self.name);
        assert_eq!(self.platform.take().len(), 1, "{}", self.name);
        got.json()["headers"].clone()
    }

    /// The request is refused with this status, and nothing reached the platform.
    fn refused(&self, got: &Got, status: u16) {
        assert_eq!(got.status, status, "{}: {got:?}", self.name);
        assert_eq!(self.platform.take().len(), 0, "{}: it reached the platform", self.name);
    }
}

/// What in the shipped files is replaced by what.
type Replaced = [(&'static str, String)];

/// Envoy, nginx, Caddy and HAProxy in front of one platform; `None` where one of them is not to be had. In
/// Caddy's file, and in HAProxy's, more is replaced.
fn gates<'p>(
    grpc: u16,
    http: u16,
    platform: &'p Platform,
    (in_caddys, in_haproxys): (&Replaced, &Replaced),
) -> Option<([Server; 4], [Gate<'p>; 4])> {
    let ports = |idpsyncd| Ports { idpsyncd, platform: platform.port };
    let (envoy, first) = envoy("config/envoy.yaml", ports(grpc), &[])?;
    let (nginx, second) = nginx(ports(http))?;
    let (caddy, third) = caddy(ports(http), in_caddys)?;
    let (haproxy, fourth) = haproxy(ports(http), in_haproxys)?;
    let gates = [("Envoy", first), ("nginx", second), ("Caddy", third), ("HAProxy", fourth)];
    let gates = gates.map(|(name, port)| Gate { name, port, platform });
    Some(([envoy, nginx, caddy, haproxy], gates))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn a_company_behind_envoy_nginx_caddy_and_haproxy() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let company = Company::new(keycloak, "gates");
    let (grpc, http) = (free_port(), free_port());
    let home = company.home(grpc, http);
    let platform = Platform::start();
    let Some((_servers, gates)) = gates(grpc, http, &platform, (&[], &[])) else { return };

    // Nobody at home: fail closed.
    for gate in &gates {
        let got = gate.ask("GET", "/health", &[]);
        assert!(got.status >= 400, "{}: {got:?}", gate.name);
        assert_eq!(platform.take().len(), 0);
    }

    let mut daemon = run(&home);
    ready(&mut daemon, http);
    let (ann, bob) = (company.token("ann"), company.token("bob"));
    daemon.until("the keys are read", || {
        let got = gates[0].as_user("GET", "/api/profile/settings", &ann);
        platform.take();
        (got.status == 200).then_some(())
    });
    for gate in &gates {
        // Allowed, with headers of idpsyncd's own, whatever the client sends.
        let bearer = format!("Bearer {ann}");
        let forged = [
            ("authorization", bearer.as_str()),
            ("x-osmo-user", "root"),
            ("X-Osmo-Roles", "osmo-admin"),
            ("x-osmo-allowed-pools", "secret"),
            ("x-osmo-token-name", "stolen"),
            ("x-osmo-workflow-id", "w1"),
        ];
        let headers = gate.passes(&gate.ask("POST", CREATE, &forged));
        assert_eq!(headers["x-osmo-user"], "ann", "{}", gate.name);
        assert_eq!(headers["x-osmo-roles"], "osmo-default,osmo-ml", "{}", gate.name);
        for name in ["x-osmo-allowed-pools", "x-osmo-token-name", "x-osmo-workflow-id"] {
            assert!(nothing(&headers[name]), "{}: {name}: {headers}", gate.name);
        }
        let headers = gate.passes(&gate.ask("GET", "/api/profile/settings?x=1", &forged));
        assert_eq!(headers["x-osmo-allowed-pools"], "ml-inference,ml-training", "{}", gate.name);

        // Denied, and told why where the gateway passes it on.
        let got = gate.as_user("POST", "/api/pool/secret/workflow", &ann);
        gate.refused(&got, 403);
        if gate.name != "nginx" {
            let body = got.json();
            assert_eq!(body["action"], "workflow:Create");
            assert_eq!(body["resource"], "pool/secret");
        }
        gate.refused(&gate.as_user("POST", CREATE, &bob), 403);
        gate.refused(&gate.as_user("GET", "/nowhere", &ann), 403);

        // Nobody: told nothing.
        let got = gate.ask("POST", CREATE, &[("x-osmo-user", "ann")]);
        gate.refused(&got, 401);
        assert!(!got.body.contains("workflow"), "{got:?}");
        assert_eq!(got.headers["www-authenticate"], "Bearer", "{}", gate.name);
        gate.refused(&gate.as_user("POST", CREATE, "no.such.token"), 401);
        let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
        let got = gate.ask("POST", CREATE, &twice);
        assert!(matches!(got.status, 400 | 401), "{}: {got:?}", gate.name);
        assert_eq!(platform.take().len(), 0, "{}", gate.name);
    }

    // Somebody new is let in at once, without a sync.
    let cay = person(&company.realm, "cay");
    company.realm.join(&cay, &company.team);
    let cay = company.token("cay");
    for gate in &gates {
        // A look-up has its deadline, which a busy machine may miss at first.
        daemon.until("Cay is looked up", || {
            let got = gate.as_user("POST", CREATE, &cay);
            platform.take();
            (got.status == 200).then_some(())
        });
        let headers = gate.passes(&gate.as_user("POST", CREATE, &cay));
        assert_eq!(headers["x-osmo-user"], "cay", "{}", gate.name);
    }

    // A role taken away in Keycloak is gone after the next sync.
    company.realm.leave(&company.ann, &company.team);
    daemon.signal("HUP");
    for gate in &gates {
        daemon.until("the role is gone", || {
            let got = gate.as_user("POST", CREATE, &ann);
            platform.take();
            (got.status == 403).then_some(())
        });
        let headers = gate.passes(&gate.as_user("GET", "/api/profile/settings", &ann));
        assert_eq!(headers["x-osmo-roles"], "osmo-default", "{}", gate.name);
        gate.passes(&gate.as_user("POST", CREATE, &cay));
    }

    // What a restart without the identity provider lives on.
    daemon.until("the signing keys are kept", || {
        let conn = rusqlite::Connection::open(home.path("store.db")).ok()?;
        let kept = conn.query_row("SELECT count(*) FROM jwks", [], |row| row.get::<_, i64>(0));
        (kept.ok()? > 0).then_some(())
    });

    // Stopped: nobody passes.
    daemon.stop();
    for gate in &gates {
        let got = gate.as_user("POST", CREATE, &cay);
        assert!(got.status >= 400, "{}: {got:?}", gate.name);
        assert_eq!(platform.take().len(), 0, "{}", gate.name);
    }

    // Started again while the identity provider is away: what the store holds is enough.
    company.wire.cut();
    let mut daemon = run(&home);
    ready(&mut daemon, http);
    for gate in &gates {
        daemon.until("Cay passes", || {
            let got = gate.as_user("POST", CREATE, &cay);
            (got.status == 200).then_some(())
        });
        platform.take();
        gate.refused(&gate.as_user("POST", CREATE, &ann), 403);
    }
}

/// Whether a header tells the platform nothing: it is not there, or empty.
fn nothing(header: &Value) -> bool {
    header.as_str().unwrap_or_default().is_empty()
}

/// Waits until `/readyz` says so.
fn ready(daemon: &mut Idpsyncd, http: u16) {
    daemon.until("it is ready", || {
        std::net::TcpStream::connect(("127.0.0.1", http)).ok()?;
        (send(http, "GET", b"/readyz", &[]).status == 200).then_some(())
    });
}

#[test]
fn a_token_that_envoy_verified() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let company = Company::new(keycloak, "verified");
    let (grpc, http) = (free_port(), free_port());
    let home = company.home(grpc, http);
    let text = std::fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    home.configure(&text.replace("identity = \"jwt\"", "identity = \"metadata\""));
    let platform = Platform::start();
    let port = company.wire.port;
    let more = [
        ("127.0.0.1:8180/realms/osmo", format!("127.0.0.1:{port}/realms/{}", company.realm.name)),
        ("port_value: 8180", format!("port_value: {port}")),
    ];
    let ports = Ports { idpsyncd: grpc, platform: platform.port };
    let Some((_envoy, port)) = envoy("config/envoy-jwt.yaml", ports, &more) else { return };
    let gate = Gate { name: "Envoy", port, platform: &platform };
    let mut daemon = run(&home);
    ready(&mut daemon, http);
    let (ann, bob) = (company.token("ann"), company.token("bob"));
    // Envoy reads the keys with the first token that it sees, for as long as it takes.
    daemon.until("Envoy has the keys", || {
        let got = gate.as_user("POST", CREATE, &ann);
        platform.take();
        (got.status == 200).then_some(())
    });
    let headers = gate.passes(&gate.as_user("POST", CREATE, &ann));
    assert_eq!(headers["x-osmo-user"], "ann");
    assert_eq!(headers["x-osmo-roles"], "osmo-default,osmo-ml");
    gate.refused(&gate.as_user("POST", CREATE, &bob), 403);
    gate.refused(&gate.as_user("POST", CREATE, "no.such.token"), 401);
    gate.refused(&gate.ask("POST", CREATE, &[("x-osmo-user", "ann")]), 401);

    // An ID token has the signature, the issuer and the audience, and is no access token.
    let id_token = company.tokens("ann")["id_token"].as_str().unwrap().to_owned();
    gate.refused(&gate.as_user("POST", CREATE, &id_token), 401);
    // Whoever takes a name is nobody, until a sync has looked at it.
    company.realm.delete(&format!("/users/{}", company.ann));
    person(&company.realm, "ann");
    let thief = company.token("ann");
    gate.refused(&gate.as_user("POST", CREATE, &thief), 403);
    daemon.stop();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn a_token_that_is_bound_to_a_key_counts_with_a_proof_by_that_key() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let Some(mut client) = DpopClient::start() else { return };
    let company = Company::new(keycloak, "bound");
    let (grpc, http) = (free_port(), free_port());
    let home = company.home(grpc, http);
    let platform = Platform::start();
    let Some((_servers, gates)) = gates(grpc, http, &platform, (&[], &[])) else { return };
    let mut daemon = run(&home);
    ready(&mut daemon, http);
    let plain = company.token("ann");
    daemon.until("the keys are read", || {
        let got = gates[0].as_user("GET", "/api/profile/settings", &plain);
        platform.take();
        (got.status == 200).then_some(())
    });
    let sign_in =
        format!("{}/realms/{}/protocol/openid-connect/token", company.url(), company.realm.name);
    let form = json!({"grant_type": "password", "client_id": "osmo-device", "scope": "openid",
        "username": "ann", "password": "pass"});
    for (key, alg) in [("ec", "ES256"), ("rsa", "PS256"), ("ed", "Ed25519")] {
        let told = client.run(&json!({"op": "ask", "key": key, "alg": alg, "url": sign_in,
            "method": "POST", "form": form}));
        let token: Value = serde_json::from_str(told["body"].as_str().unwrap()).unwrap();
        // Keycloak tells which algorithms it takes for a key: not all of them.
        if alg != "ES256" && told["status"] != 200 {
            continue;
        }
        assert_eq!(token["token_type"], "DPoP", "{told}");
        let token = token["access_token"].as_str().unwrap().to_owned();
        for gate in &gates {
            let url = format!("http://127.0.0.1:{}/api/profile/settings?x=1", gate.port);
            let ask = json!({"op": "ask", "key": key, "url": url, "token": token});
            for _ in 0..2 {
                let told = client.run(&ask);
                assert_eq!(told["status"], 200, "{}: {key}: {told}\n{}", gate.name, daemon.log());
                let reached = platform.take();
                assert_eq!(reached[0].headers["x-osmo-user"], "ann", "{}: {told}", gate.name);
            }
            // With another's key.
            let told =
                client.run(&json!({"op": "ask", "key": "thief", "url": url, "token": token}));
            assert_eq!(told["status"], 401, "{}: {told}", gate.name);
            let challenge = told["challenge"].as_str().unwrap();
            assert!(challenge.starts_with("DPoP error=\"invalid_dpop_proof\""), "{challenge}");
            assert!(challenge.contains("algs=\"ES256 "), "{challenge}");
            assert_eq!(platform.take().len(), 0, "{}", gate.name);

            let mut proof = |htm: &str, htu: &str| {
                let told = client.run(&json!({"op": "proof", "key": key, "htm": htm, "htu": htu,
                    "token": token}));
                told.as_str().unwrap().to_owned()
            };
            let scheme = format!("DPoP {token}");
            let ask = |scheme: &str, proofs: &[&str]| {
                let mut headers = vec![("authorization", scheme)];
                headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
                gate.ask("GET", "/api/profile/settings", &headers)
            };
            let here = "http://platform.test/api/profile/settings";
            let good = proof("GET", here);
            gate.passes(&ask(&scheme, &[&good]));
            // Once.
            let got = ask(&scheme, &[&good]);
            gate.refused(&got, 401);
            assert!(got.headers["www-authenticate"].contains("invalid_dpop_proof"), "{got:?}");
            for (htm, htu) in [
                ("POST", here),
                ("GET", "http://platform.test/api/pool"),
                ("GET", "http://other.test/api/profile/settings"),
                ("GET", "http://platform.test:8080/api/profile/settings"),
            ] {
                gate.refused(&ask(&scheme, &[&proof(htm, htu)]), 401);
            }
            gate.refused(&ask(&scheme, &[]), 401);
            let two = [&*proof("GET", here), &*proof("GET", here)];
            let got = ask(&scheme, &two);
            assert!(matches!(got.status, 400 | 401), "{}: {got:?}", gate.name);
            // As a bearer's token it is none, nor is a bearer's token bound.
            let got = ask(&format!("Bearer {token}"), &[&proof("GET", here)]);
            gate.refused(&got, 401);
            let challenge = &got.headers["www-authenticate"];
            assert!(challenge.starts_with("DPoP error=\"invalid_token\""), "{challenge}");
            gate.refused(&ask(&format!("DPoP {plain}"), &[&proof("GET", here)]), 401);
            gate.passes(&ask(&format!("Bearer {plain}"), &[]));
            assert_eq!(platform.take().len(), 0, "{}", gate.name);
        }
    }
    // A reload forgets no proof.
    let gate = &gates[0];
    let here = "http://platform.test/api/profile/settings";
    let told = client.run(&json!({"op": "ask", "key": "ec", "url": sign_in, "method": "POST",
        "form": form}));
    let token: Value = serde_json::from_str(told["body"].as_str().unwrap()).unwrap();
    let token = token["access_token"].as_str().unwrap();
    let proof = client.run(&json!({"op": "proof", "key": "ec", "htm": "GET", "htu": here,
        "token": token}));
    let proof = proof.as_str().unwrap();
    let ask = |scheme: &str| {
        let headers = [("authorization", format!("{scheme} {token}")), ("dpop", proof.to_owned())];
        gate.ask("GET", "/api/profile/settings", &headers.each_ref().map(|(n, v)| (*n, v.as_str())))
    };
    gate.passes(&ask("DPoP"));
    let text = std::fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    home.configure(&format!("{text}\n[gateway.dpop]\nmax_age = \"9m\"\n"));
    daemon.signal("HUP");
    daemon.until_logged("requests are answered by the new configuration");
    gate.refused(&ask("DPoP"), 401);
    daemon.stop();
}

/// A line of `tests/gateway_paths.txt`: method, target as bytes.
fn hostile() -> Vec<(String, Vec<u8>)> {
    let text = std::fs::read_to_string(shipped("tests/gateway_paths.txt"));
    let mut lines = Vec::new();
    for line in text.unwrap().lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut fields = line.split('\t');
        let (method, target) = (fields.next().unwrap(), fields.next().unwrap());
        // An upgrade says something of the method, not of the path.
        if method.is_empty() || method.ends_with('+') {
            continue;
        }
        let mut bytes = Vec::new();
        let mut rest = target;
        while let Some((before, after)) = rest.split_once("\\x") {
            bytes.extend_from_slice(before.as_bytes());
            bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
            rest = &after[2..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        lines.push((method.to_owned(), bytes));
    }
    lines
}

/// The segments as the most careless of platforms would read them: decoded as often as it goes,
/// backslashes for slashes, no empty segments, parameters cut off, dot segments followed.
fn carelessly(target: &str) -> Vec<String> {
    let mut path = target.split(['?', '#']).next().unwrap().to_owned();
    for _ in 0..4 {
        path = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
    }
    let mut segments: Vec<String> = Vec::new();
    for segment in path.replace('\\', "/").split('/') {
        match segment.split(';').next().unwrap() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}

/// A home without an identity provider: Lim may list pools, open a terminal and read his profile,
/// and the gateway names the user.
fn lim(grpc: u16, http: u16) -> Home {
    let home = Home::new(&format!(
        r#"
        [store]
        path = "store.db"
        [[source]]
        name = "acme"
        kind = "file"
        realm_export = "realm.json"
        [roles.lister]
        external_roles = ["Listers"]
        [[roles.lister.policies]]
        actions = ["pool:List", "profile:Read", "term:Open", "open:Read"]
        [gateway]
        grpc = "127.0.0.1:{grpc}"
        http = "127.0.0.1:{http}"
        identity = "header"
        preset = "osmo"
        [[gateway.route]]
        methods = ["WEBSOCKET"]
        path = "/term/{{id}}"
        action = "term:Open"
        "#
    ));
    let realm = json!({"realm": "acme", "roles": {"realm": [], "client": {}},
        "groups": [{"id": "g", "name": "Listers", "path": "/Listers", "subGroups": []}],
        "users": [{"id": "u", "username": "lim", "enabled": true, "groups": ["/Listers"]}]});
    std::fs::write(home.path("realm.json"), realm.to_string()).unwrap();
    home.ok(&["sync"], 0);
    home
}

/// The gates, each of which names Lim as the user, or passes on that a client does: the files of some
/// remove the header, as they must where tokens tell.
fn lim_at_the_gates(
    grpc: u16,
    http: u16,
    platform: &Platform,
) -> Option<([Server; 4], [Gate<'_>; 4])> {
    let in_caddys = [("uri /authz", "uri /authz\nheader_up x-osmo-user lim".to_owned())];
    let asks = "    http-request lua.idpsyncd\n";
    let names = format!("    http-request set-header x-osmo-user lim\n{asks}");
    gates(grpc, http, platform, (&in_caddys, &[(asks, names)]))
}

#[test]
fn no_path_is_decided_as_one_thing_and_served_as_another() {
    let (grpc, http) = (free_port(), free_port());
    let home = lim(grpc, http);
    let platform = Platform::start();
    let Some((_servers, gates)) = lim_at_the_gates(grpc, http, &platform) else { return };
    let mut server = home.start("serve");
    ready(&mut server, http);
    let lines = hostile();
    assert!(lines.len() >= 40, "{}", lines.len());
    for Gate { name, port, .. } in gates {
        let mut passed = 0;
        for (method, target) in &lines {
            let got = send(port, method, target, &[("x-osmo-user", "lim")]);
            let shown = String::from_utf8_lossy(target);
            // What he may do is list pools, and that is what the platform must make of it.
            for reached in platform.take() {
                passed += 1;
                assert_eq!(got.status, 200, "{name}: {shown}: {got:?}");
                let read = carelessly(&reached.target);
                let fine = [["api", "pool"], ["api", "pool_quota"]].iter().any(|fine| read == fine);
                assert!(fine, "{name}: {shown} reached the platform as {}", reached.target);
            }
            assert!(got.status != 500, "{name}: {shown}: {got:?}");
        }
        assert!(passed >= 3, "{name}: the proper ones pass: {passed}");
    }
    server.stop();
}

/// The hosts that the most careless of platforms would take a request for: by each header that tells
/// one, decoded, of a list each, without user, port and dots at the end, in lower case.
fn careless_hosts(reached: &Reached) -> Vec<String> {
    let told = ["host", "x-forwarded-host", "x-original-host", "forwarded"];
    let told = told.iter().filter_map(|name| reached.headers.get(*name));
    let mut hosts = Vec::new();
    for host in told.flat_map(|value| value.split(',')) {
        let host = percent_encoding::percent_decode_str(host).decode_utf8_lossy();
        let host = host.split("host=").last().unwrap();
        let host = host.trim().rsplit(['@', '/', '\\']).next().unwrap().to_lowercase();
        hosts.push(host.split(':').next().unwrap().trim_end_matches('.').to_owned());
    }
    hosts
}

#[test]
fn no_host_is_decided_as_one_site_and_served_as_another() {
    let (grpc, http) = (free_port(), free_port());
    let home = lim(grpc, http);
    let text = std::fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    home.configure(&format!("{text}{HOST_ROUTES}"));
    let platform = Platform::start();
    let Some((_servers, gates)) = lim_at_the_gates(grpc, http, &platform) else { return };
    let mut server = home.start("serve");
    ready(&mut server, http);
    let lines = host_lines();
    for Gate { name, port, .. } in gates {
        let mut passed = 0;
        for line in &lines {
            let mut headers: Vec<(&str, &[u8])> = vec![("x-osmo-user", b"lim")];
            headers.extend(line.hosts.iter().map(|host| ("Host", host.as_slice())));
            let more = line.header.as_ref();
            headers.extend(more.map(|(name, value)| (name.as_str(), value.as_slice())));
            let got = send_raw(port, "GET", &line.target, &headers);
            // What he may is read the open site, and that is what the platform must take it for.
            for reached in platform.take() {
                passed += 1;
                assert_eq!(got.status, 200, "{name}: {}: {got:?}", line.shown);
                let hosts = careless_hosts(&reached);
                let open = hosts.iter().all(|host| host == "open.example.test");
                assert!(open && !hosts.is_empty(), "{name}: {}: {reached:?}", line.shown);
                assert_eq!(carelessly(&reached.target), ["x"], "{name}: {}", line.shown);
            }
            assert!(got.status != 500, "{name}: {}: {got:?}", line.shown);
            let proper = line.expected == "open:Read" && line.header.is_none();
            assert!(!proper || got.status == 200, "{name}: {}: {got:?}", line.shown);
        }
        assert!(passed >= 6, "{name}: the proper ones pass: {passed}");
    }
    server.stop();
}

#[test]
fn no_header_of_a_client_makes_another_of_it() {
    const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let (grpc, http) = (free_port(), free_port());
    let home = lim(grpc, http);
    let platform = Platform::start();
    let Some((_servers, gates)) = lim_at_the_gates(grpc, http, &platform) else { return };
    let mut server = home.start("serve");
    ready(&mut server, http);
    for gate in &gates {
        let name = gate.name;
        let ask = |target: &str, more: &[(&str, &str)]| {
            gate.ask("GET", target, &[&[("x-osmo-user", "lim")], more].concat())
        };
        for target in ["/api/pool", "/api/profile/settings"] {
            let headers = gate.passes(&ask(target, &[]));
            assert_eq!(headers["x-osmo-user"], "lim", "{name}");
            assert_eq!(headers["x-osmo-roles"], "lister", "{name}");
            // Named as headers of the connection, which a gateway drops. To Envoy and nginx the
            // client itself names the user here.
            let named = if matches!(name, "Caddy" | "HAProxy") {
                "x-osmo-user, X-Osmo-Roles"
            } else {
                "X-Osmo-Roles"
            };
            let headers = gate.passes(&ask(target, &[("connection", named)]));
            assert_eq!(headers["x-osmo-user"], "lim", "{name}");
            assert_eq!(headers["x-osmo-roles"], "lister", "{name}");
            // Nobody sets the pools here: they are not the client's to say.
            let forged = ["x-osmo-allowed-pools", "x-osmo-token-name", "x-osmo-workflow-id"];
            let sent = forged.map(|header| (header, "forged"));
            let headers = gate.passes(&ask(target, &sent));
            for header in forged {
                assert!(nothing(&headers[header]), "{name}: {header}: {headers}");
            }
            let forged = [
                ("x_osmo_user", "root"),
                ("X_Osmo_Roles", "osmo-admin"),
                ("x-osmo_user", "root"),
                ("x_osmo-user", "root"),
                ("x_forwarded_host", "evil.test"),
            ];
            let got = ask(target, &forged);
            for reached in platform.take() {
                let mut names = reached.headers.keys();
                assert!(!names.any(|header| header.as_str().contains('_')), "{name}: {reached:?}");
            }
            assert!(matches!(got.status, 200 | 400), "{name}: {got:?}");
        }
        // The key alone is no WebSocket, and the platform would serve a GET.
        gate.refused(&ask("/term/1", &[]), 403);
        gate.refused(&ask("/term/1", &[KEY]), 403);
        let upgrade = [KEY, ("Connection", "Upgrade"), ("Upgrade", "websocket")];
        let sent = [&upgrade[..], &[("Sec-WebSocket-Version", "13")]].concat();
        ask("/term/1", &sent);
        let reached = platform.take();
        assert_eq!(reached.len(), 1, "{name}: {reached:?}");
        assert_eq!(reached[0].headers["upgrade"], "websocket", "{name}");
        // An upgrade that `Connection` does not name is none: the platform would serve a GET.
        ask("/term/1", &[KEY, ("Upgrade", "websocket")]);
        for reached in platform.take() {
            assert!(reached.headers.contains_key("upgrade"), "{name}: {reached:?}");
        }
        // No upgrade to h2c, by either of its headers, reaches the platform.
        for upgrade in [
            &[("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings")][..],
            &[("Upgrade", "h2c"), ("Connection", "Upgrade")],
            &[("Connection", "HTTP2-Settings")],
            &[],
        ] {
            let sent = [upgrade, &[("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")]].concat();
            ask("/api/pool", &sent);
            for reached in platform.take() {
                assert!(!reached.headers.contains_key("upgrade"), "{name}: {reached:?}");
                assert!(!reached.headers.contains_key("http2-settings"), "{name}: {reached:?}");
            }
        }
    }
    server.stop();
}

#[test]
fn every_file_that_is_shipped_for_a_gateway_names_every_header() {
    let headers = [
        "x-osmo-user",
        "x-osmo-roles",
        "x-osmo-allowed-pools",
        "x-osmo-token-name",
        "x-osmo-workflow-id",
    ];
    // Over gRPC Envoy is told which to remove.
    for file in [
        "config/nginx.conf",
        "config/Caddyfile",
        "config/haproxy.lua",
        "config/traefik.yaml",
        "config/kong.yaml",
        "config/apisix.yaml",
    ] {
        let text = std::fs::read_to_string(shipped(file)).unwrap().to_ascii_lowercase();
        for header in headers {
            assert!(text.contains(header), "{file}: {header}");
        }
    }
}
