//! A decision point at work, and how it is asked.

use serde_json::{Value, json};

use crate::support::gateways::{Got, send, send_body, shipped};
use crate::support::idpsyncd::{Home, Idpsyncd};
use crate::support::server::free_port;

pub const EVALUATION: &str = "/access/v1/evaluation";
pub const EVALUATIONS: &str = "/access/v1/evaluations";
pub const SUBJECTS: &str = "/access/v1/search/subject";
pub const RESOURCES: &str = "/access/v1/search/resource";
pub const ACTIONS: &str = "/access/v1/search/action";
pub const METADATA: &str = "/.well-known/authzen-configuration";

/// A decision point that answers on the loopback.
pub struct Pdp {
    pub home: Home,
    pub port: u16,
    pub server: Idpsyncd,
}

impl Pdp {
    /// `config`, in which `{http}` stands for the port, with these files beside it.
    pub fn of(config: &str, files: &[(&str, &str)]) -> Pdp {
        Pdp::with("serve", config, files)
    }

    /// The same by `run` or `serve`.
    pub fn with(what: &str, config: &str, files: &[(&str, &str)]) -> Pdp {
        let mut pdp = Pdp::listening(what, config, files);
        let port = pdp.port;
        pdp.server.until("it is ready", || {
            (send(port, "GET", b"/readyz", &[]).status == 200).then_some(())
        });
        pdp
    }

    /// The same, which may have nothing to decide by.
    pub fn listening(what: &str, config: &str, files: &[(&str, &str)]) -> Pdp {
        let port = free_port();
        let home = Home::new(&config.replace("{http}", &port.to_string()));
        for (name, content) in files {
            std::fs::write(home.path(name), content).unwrap();
        }
        home.ok(&["sync"], 0);
        let mut server = home.start(what);
        server.until("it listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
        });
        Pdp { home, port, server }
    }

    /// The shipped example, which is the fixture of the certification scenario.
    pub fn shipped() -> Pdp {
        let folder = shipped("config/examples/authzen");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let config = read("idpsyncd.toml");
        for there in ["\"../../authzen.db\"", "127.0.0.1:9180"] {
            assert!(config.contains(there), "{there}");
        }
        let config = config.replace("../../authzen.db", "store.db").replace("9180", "{http}");
        Pdp::of(&config, &[("realm.json", &read("realm.json"))])
    }

    /// What is answered to a POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Got {
        self.raw(path, body.to_string().as_bytes(), &[])
    }

    /// The same with these bytes and more headers.
    pub fn raw(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Got {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        send_body(self.port, "POST", path.as_bytes(), &all, body)
    }

    /// What is answered with 200.
    pub fn ok(&self, path: &str, body: &Value) -> Value {
        let got = self.post(path, body);
        assert_eq!(got.status, 200, "{body}: {got:?}");
        assert_eq!(got.headers.get("content-type").unwrap(), "application/json", "{got:?}");
        got.json()
    }

    /// The decision about one question.
    pub fn decide(&self, body: &Value) -> bool {
        self.ok(EVALUATION, body)["decision"].as_bool().unwrap()
    }

    /// The ids or names that a search finds, all pages after each other.
    pub fn found(&self, path: &str, body: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut body = body.clone();
        loop {
            let answer = self.ok(path, &body);
            let results = answer["results"].as_array().unwrap();
            let text =
                |it: &Value| it.get("id").or(it.get("name")).unwrap().as_str().map(str::to_owned);
            found.extend(results.iter().map(|it| text(it).unwrap()));
            assert_eq!(answer["page"]["count"], results.len());
            match answer["page"]["next_token"].as_str().unwrap() {
                "" => return found,
                token => body["page"]["token"] = json!(token),
            }
        }
    }

    /// The lines of the metrics that begin so.
    pub fn metrics(&self, start: &str) -> Vec<String> {
        let got = send(self.port, "GET", b"/metrics", &[]);
        let lines = got.body.lines().filter(|line| line.starts_with(start));
        lines.map(str::to_owned).collect()
    }

    /// The log holds this, sooner or later.
    pub fn logs(&mut self, what: &str) {
        self.server.until_logged(what);
    }
}

/// A question about three words: `user`, `action`, `type/id`.
pub fn asks(subject: &str, action: &str, resource: &str) -> Value {
    let (kind, id) = resource.split_once('/').unwrap();
    json!({
        "subject": {"type": "user", "id": subject},
        "action": {"name": action},
        "resource": {"type": kind, "id": id},
    })
}
