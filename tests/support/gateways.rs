//! Real gateways for tests: Envoy, nginx and Caddy, started with the very files under `config/` (other
//! ports and folders put in), a platform behind them that echoes what reached it, and a raw HTTP
//! client that sends a request target exactly as it is given.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::free_port;
use super::skip;

/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// A file below the repository.
pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Waits until `holds` does.
///
/// # Panics
/// It does not within half a minute.
pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child process that ends with the test: the shell in between waits for its standard input to
/// close, which it does when the test process ends, even by a signal.
pub struct Server {
    child: Option<Child>,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(mut command: Vec<String>, log: PathBuf, folder: tempfile::TempDir) -> Server {
        let watch =
            r#""$@" </dev/null & server=$!; read line; kill $server 2>/dev/null; wait $server"#;
        let mut args = vec!["-c".to_owned(), watch.to_owned(), "sh".to_owned()];
        args.append(&mut command);
        let out = std::fs::File::create(&log).unwrap();
        let child = Command::new("sh")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Server { child: Some(child), log, _folder: folder }
    }

    /// What it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn await_port(&mut self, port: u16) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "it does not come up:\n{}", self.log());
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// Replaces each text by another; each must be there.
fn replaced(text: &str, pairs: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    for (old, new) in pairs {
        assert!(text.contains(old), "the shipped file has no `{old}`");
        text = text.replace(old, new);
    }
    text
}

/// Where a gateway's parts are.
#[derive(Clone, Copy)]
pub struct Ports {
    /// Where idpsyncd answers the gateway.
    pub idpsyncd: u16,
    /// Where the platform is.
    pub platform: u16,
}

/// Envoy with a shipped configuration; the server and its port. `None` where there is no Envoy
/// (and says so).
pub fn envoy(file: &str, ports: Ports, more: &[(&str, String)]) -> Option<(Server, u16)> {
    let binary = fetched("Envoy", "tests/tools/envoy-fetch.sh")?;
    let folder = tempfile::tempdir().unwrap();
    let (public, admin) = (free_port(), free_port());
    let mut pairs = vec![
        ("address: 0.0.0.0, port_value: 8080", format!("address: 127.0.0.1, port_value: {public}")),
        ("port_value: 9901", format!("port_value: {admin}")),
        ("port_value: 9181", format!("port_value: {}", ports.idpsyncd)),
        ("port_value: 8000", format!("port_value: {}", ports.platform)),
    ];
    pairs.extend(more.iter().cloned());
    let text = replaced(&std::fs::read_to_string(shipped(file)).unwrap(), &pairs);
    let config = folder.path().join("envoy.yaml");
    std::fs::write(&config, text).unwrap();
    let command = [
        binary.as_str(),
        "-c",
        config.to_str().unwrap(),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ];
    let log = folder.path().join("log");
    let mut server = Server::start(command.map(str::to_owned).to_vec(), log, folder);
    server.await_port(public);
    Some((server, public))
}

/// The program that a script fetches; `None` where it cannot be had (and says so).
fn fetched(name: &str, script: &str) -> Option<String> {
    let fetch = Command::new(shipped(script)).output().unwrap();
    if !fetch.status.success() {
        let why = String::from_utf8_lossy(&fetch.stderr).trim().to_owned();
        skip::skip(&skip::test(), &format!("no {name}: {why}"));
        return None;
    }
    Some(String::from_utf8_lossy(&fetch.stdout).trim().to_owned())
}

/// Caddy with the shipped configuration; the server and its port. `None` where there is no Caddy
/// (and says so).
pub fn caddy(ports: Ports, more: &[(&str, String)]) -> Option<(Server, u16)> {
    let binary = fetched("Caddy", "tests/tools/caddy-fetch.sh")?;
    let folder = tempfile::tempdir().unwrap();
    let public = free_port();
    let mut pairs = vec![
        ("http://:8080 {", format!("http://:{public} {{\n\tbind 127.0.0.1")),
        ("forward_auth 127.0.0.1:9180", format!("forward_auth 127.0.0.1:{}", ports.idpsyncd)),
        ("reverse_proxy 127.0.0.1:8000", format!("reverse_proxy 127.0.0.1:{}", ports.platform)),
    ];
    pairs.extend(more.iter().cloned());
    let text = replaced(&std::fs::read_to_string(shipped("config/Caddyfile")).unwrap(), &pairs);
    let config = folder.path().join("Caddyfile");
    std::fs::write(&config, text).unwrap();
    let home = format!("XDG_DATA_HOME={0}", folder.path().display());
    let command = ["env", &home, &binary, "run", "--config", config.to_str().unwrap()];
    let log = folder.path().join("log");
    let mut server = Server::start(command.map(str::to_owned).to_vec(), log, folder);
    server.await_port(public);
    Some((server, public))
}

/// HAProxy with the shipped configuration; the server and its port. `None` where there is no HAProxy
/// (and says so).
pub fn haproxy(ports: Ports, more: &[(&str, String)]) -> Option<(Server, u16)> {
    if !skip::has("haproxy") {
        skip::skip(&skip::test(), "no HAProxy");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let public = free_port();
    let mut pairs = vec![
        ("bind :8080", format!("bind 127.0.0.1:{public}")),
        ("127.0.0.1:9180", format!("127.0.0.1:{}", ports.idpsyncd)),
        ("127.0.0.1:8000", format!("127.0.0.1:{}", ports.platform)),
    ];
    pairs.extend(more.iter().cloned());
    let text = replaced(&std::fs::read_to_string(shipped("config/haproxy.cfg")).unwrap(), &pairs);
    let config = folder.path().join("haproxy.cfg");
    std::fs::write(&config, text).unwrap();
    std::fs::copy(shipped("config/haproxy.lua"), folder.path().join("haproxy.lua")).unwrap();
    let sbin = "/usr/sbin/haproxy";
    let program = if Path::new(sbin).exists() { sbin } else { "haproxy" };
    let command = [program, "-db", "-f", config.to_str().unwrap()];
    let log = folder.path().join("log");
    let mut server = Server::start(command.map(str::to_owned).to_vec(), log, folder);
    server.await_port(public);
    Some((server, public))
}

/// nginx with the shipped configuration; the server and its port. `None` where there is no nginx
/// (and says so).
pub fn nginx(ports: Ports) -> Option<(Server, u16)> {
    if !skip::has("nginx") {
        skip::skip(&skip::test(), "no nginx");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display().to_string();
    let public = free_port();
    let mut text = replaced(
        &std::fs::read_to_string(shipped("config/nginx.conf")).unwrap(),
        &[
            ("listen 8080;", format!("listen 127.0.0.1:{public};")),
            ("127.0.0.1:9180", format!("127.0.0.1:{}", ports.idpsyncd)),
            ("127.0.0.1:8000", format!("127.0.0.1:{}", ports.platform)),
            ("/run/nginx.pid", format!("{here}/nginx.pid")),
            ("/var/log/nginx", here.clone()),
        ],
    );
    // Folders that the package's own configuration need not name.
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {here}/{name};\n"));
    text = text.replacen("http {\n", &format!("http {{\n{}", temporary.concat()), 1);
    let config = folder.path().join("nginx.conf");
    std::fs::write(&config, text).unwrap();
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let command =
        [program, "-c", config.to_str().unwrap(), "-p", &here, "-g", "daemon off; user root;"];
    let log = folder.path().join("log");
    let mut server = Server::start(command.map(str::to_owned).to_vec(), log, folder);
    server.await_port(public);
    Some((server, public))
}

/// A client that binds its tokens to keys of its own: npm's `dpop`, driven by
/// `tests/tools/dpop-client.mjs`.
pub struct DpopClient {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl DpopClient {
    /// Starts one; `None` where it cannot be had (and says so).
    pub fn start() -> Option<DpopClient> {
        let module = fetched("DPoP client", "tests/tools/dpop-fetch.sh")?;
        let mut child = Command::new("node")
            .arg(shipped("tests/tools/dpop-client.mjs"))
            .arg(module)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take(), child.stdout.take().unwrap());
        Some(DpopClient { child, to, from: BufReader::new(from) })
    }

    /// What it answers to a command.
    pub fn run(&mut self, command: &Value) -> Value {
        writeln!(self.to.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {command}: {line:?}"))
    }
}

impl Drop for DpopClient {
    /// It ends with its standard input.
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// What reached the platform.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// The method.
    pub method: String,
    /// The request target as it came.
    pub target: String,
    /// Headers by lower-case name; several of one name joined by `, `.
    pub headers: BTreeMap<String, String>,
}

/// A platform that answers every request with what it saw of it, as JSON.
pub struct Platform {
    /// Its port.
    pub port: u16,
    seen: Arc<Mutex<Vec<Reached>>>,
}

impl Platform {
    /// Starts one; it ends with the test process.
    pub fn start() -> Platform {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || echo(stream.unwrap(), &all));
            }
        });
        Platform { port, seen }
    }

    /// What reached it since the last call.
    pub fn take(&self) -> Vec<Reached> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// Answers the requests of one connection, one after the other. Requests have no body here.
fn echo(mut stream: TcpStream, all: &Mutex<Vec<Reached>>) {
    let mut rest = Vec::new();
    while let Some(head) = head(&mut stream, &mut rest) {
        let reached = parsed(&head);
        let body = json!({
            "method": reached.method,
            "target": reached.target,
            "headers": reached.headers,
        })
        .to_string();
        all.lock().unwrap().push(reached);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Everything up to the next empty line; what comes after stays in `rest`.
fn head(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest.drain(..end + 4);
            return Some(head);
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => rest.extend_from_slice(&buffer[..count]),
        }
    }
}

fn parsed(head: &str) -> Reached {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut reached = Reached {
        method: first.next().unwrap_or_default().to_owned(),
        target: first.next().unwrap_or_default().to_owned(),
        ..Reached::default()
    };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        reached
            .headers
            .entry(name.to_ascii_lowercase())
            .and_modify(|there| *there = format!("{there}, {value}"))
            .or_insert_with(|| value.to_owned());
    }
    reached
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Got {
    /// The status; 0 where the connection was closed without an answer.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Got {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends one request over a connection of its own, its target byte for byte as given.
pub fn send(port: u16, method: &str, target: &[u8], headers: &[(&str, &str)]) -> Got {
    send_body(port, method, target, headers, b"")
}

/// The same with a body.
pub fn send_body(
    port: u16,
    method: &str,
    target: &[u8],
    headers: &[(&str, &str)],
    body: &[u8],
) -> Got {
    let host = ("host", &b"platform.test"[..]);
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    let headers: Vec<_> = std::iter::once(host).chain(headers).collect();
    send_whole(port, method, target, &headers, body)
}

/// The same with no body, and no header but those given, `Host` among them, byte for byte as well.
pub fn send_raw(port: u16, method: &str, target: &[u8], headers: &[(&str, &[u8])]) -> Got {
    send_whole(port, method, target, headers, b"")
}

/// A connection to whoever listens at a port. A gateway says from which generation it answers before it
/// listens, so a busy machine may ask too early: nobody has refused the question then.
fn connected(port: u16) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                assert!(Instant::now() < deadline, "nobody listens at port {port}");
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("port {port}: {error}"),
        }
    }
}

fn send_whole(
    port: u16,
    method: &str,
    target: &[u8],
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Got {
    let mut stream = connected(port);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} ").into_bytes();
    request.extend_from_slice(target);
    request.extend_from_slice(b" HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    request.extend_from_slice(body);
    let nothing = Got { status: 0, headers: BTreeMap::new(), body: String::new() };
    if stream.write_all(&request).is_err() {
        return nothing;
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A gateway that refuses may reset the connection: what came before counts. Or it may keep it
    // open for a while: what it has announced is enough.
    while !whole(&answer) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return nothing };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let headers = parsed(head).headers;
    let chunked = headers.get("transfer-encoding").is_some_and(|value| value.contains("chunked"));
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Got { status, headers, body }
}

/// Whether an answer is there with the whole body that it announces. `false` where only the end of
/// the connection tells.
fn whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = parsed(&String::from_utf8_lossy(&answer[..end]));
    let length = head.headers.get("content-length").and_then(|length| length.parse().ok());
    length.is_some_and(|length: usize| answer.len() >= end + 4 + length)
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 || rest.len() < length {
            break;
        }
        whole.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}

/// A line of `tests/gateway_hosts.txt`.
pub struct HostLine {
    /// What stands in the place of the host: nothing, one, or several.
    pub hosts: Vec<Vec<u8>>,
    /// Another header.
    pub header: Option<(String, Vec<u8>)>,
    /// The request's target.
    pub target: Vec<u8>,
    /// What must come of it.
    pub expected: String,
    /// The line itself.
    pub shown: String,
}

/// The lines of `tests/gateway_hosts.txt`.
pub fn host_lines() -> Vec<HostLine> {
    let text = std::fs::read_to_string(shipped("tests/gateway_hosts.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [hosts, more, expected] = fields[..] else { panic!("{line:?}") };
        let hosts = match hosts {
            "-" => Vec::new(),
            hosts => hosts.split(" && ").map(unescaped).collect(),
        };
        let header = more.split_once(": ");
        let target = if more == "-" || header.is_some() { "/x" } else { more };
        HostLine {
            hosts,
            header: header.map(|(name, value)| (name.to_owned(), unescaped(value))),
            target: target.as_bytes().to_vec(),
            expected: expected.to_owned(),
            shown: line.to_owned(),
        }
    });
    lines.collect()
}

/// `\xNN` undone.
fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// The routes that `tests/gateway_hosts.txt` is about.
pub const HOST_ROUTES: &str = r#"
        [[gateway.route]]
        hosts = ["open.example.test"]
        path = "/x"
        action = "open:Read"
        [[gateway.route]]
        hosts = ["*.lab.example.test"]
        path = "/x"
        action = "lab:Read"
        [[gateway.route]]
        hosts = ["deep.lab.example.test"]
        path = "/x"
        action = "deep:Read"
        [[gateway.route]]
        hosts = ["*.deep.lab.example.test"]
        path = "/x"
        action = "below:Read"
        [[gateway.route]]
        hosts = ["127.0.0.1", "[::1]"]
        path = "/x"
        action = "address:Read"
        [[gateway.route]]
        hosts = ["xn--bcher-kva.example.test"]
        path = "/x"
        action = "word:Read"
        [[gateway.route]]
        path = "/x"
        action = "rest:Read"
"#;

/// A way to a server that can be cut and mended: what goes through `port` ends at `to`.
pub struct Wire {
    /// Where it begins.
    pub port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
    cut: Arc<Mutex<bool>>,
}

impl Wire {
    /// One that leads to a port of the loopback.
    pub fn to(to: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let cut: Arc<Mutex<bool>> = Arc::default();
        let (all, is_cut) = (Arc::clone(&open), Arc::clone(&cut));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let mut all = all.lock().unwrap();
                if *is_cut.lock().unwrap() {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut into) =
                        (from.try_clone().unwrap(), into.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut into);
                        let _ = into.shutdown(std::net::Shutdown::Write);
                    });
                }
                all.extend([near, far]);
            }
        });
        Wire { port, open, cut }
    }

    /// Cuts what is open, and lets nothing through any more.
    pub fn cut(&self) {
        let mut open = self.open.lock().unwrap();
        *self.cut.lock().unwrap() = true;
        for stream in open.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Lets through again.
    pub fn mend(&self) {
        *self.cut.lock().unwrap() = false;
    }
}
