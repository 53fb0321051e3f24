//! AuthZEN as programs ask that nobody here wrote: `decern`, a client, and `apparitor`, which lets an MCP server
//! (FastMCP) ask about each tool call. Both are fetched by `tests/tools/authzen-clients-fetch.sh`.
#![cfg(test)]

mod support;

#[path = "authzen/kit.rs"]
#[expect(dead_code, reason = "each file of tests needs a part of it")]
mod kit;

use std::process::Command;

use kit::Pdp;
use support::gateways::shipped;
use support::skip;

/// Where the programs are; `None` where they cannot be had (and says so).
fn clients() -> Option<String> {
    let fetch = Command::new(shipped("tests/tools/authzen-clients-fetch.sh")).output().unwrap();
    if !fetch.status.success() {
        let why = String::from_utf8_lossy(&fetch.stderr).trim().to_owned();
        skip::skip(&skip::test(), &format!("no AuthZEN clients: {why}"));
        return None;
    }
    Some(String::from_utf8_lossy(&fetch.stdout).trim().to_owned())
}

/// Lets a program ask; it must end well. What it printed.
fn runs(script: &str, pdp: &Pdp, token: &str) -> Option<String> {
    let clients = clients()?;
    let output = Command::new("python3")
        .arg("-B")
        .arg(shipped(script))
        .args([&format!("http://127.0.0.1:{}", pdp.port), token])
        .env("PYTHONPATH", clients)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", pdp.server.log());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The shipped example with a caller.
fn with_caller() -> Pdp {
    let folder = shipped("config/examples/authzen");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let config = read("idpsyncd.toml");
    let config = config.replace("../../authzen.db", "store.db").replace("9180", "{http}");
    let caller = "[[gateway.authzen.caller]]\nname = \"python\"\ntoken = { file = \"token\" }\n";
    let files = [("realm.json", read("realm.json")), ("token", "secret-0123456789".to_owned())];
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Pdp::of(&format!("{config}\n{caller}"), &files)
}

#[test]
fn a_client_from_elsewhere_gets_decisions_and_reasons() {
    let pdp = with_caller();
    let Some(said) = runs("tests/authzen/client.py", &pdp, "secret-0123456789") else { return };
    assert_eq!(said.trim(), "asked 8 times");
}

const MCP: &str = r#"
[store]
path = "store.db"
[[source]]
name = "acme"
kind = "file"
realm_export = "realm.json"
[roles.file-editor]
external_roles = ["file-editors"]
[[roles.file-editor.policies]]
actions = ["mcp_tool:tool_call.execute"]
resources = ["mcp_tool/files/*"]
[[roles.file-editor.policies]]
effect = "Deny"
actions = ["mcp_tool:tool_call.execute"]
resources = ["mcp_tool/files/delete_file"]
[gateway]
http = "127.0.0.1:{http}"
[gateway.authzen]
enabled = true
[[gateway.authzen.subject]]
type = "identity"
id = "external_id"
source = "acme"
[[gateway.authzen.caller]]
name = "mcp"
token = { file = "token" }
may = ["evaluate"]
[[gateway.authzen.rule]]
resource_type = "mcp_tool"
when = { "resource.properties.arguments.recursive" = true }
action = "mcp_tool:tool_call.recursive"
"#;

#[test]
fn an_mcp_server_lets_tool_calls_be_decided_before_they_run() {
    let realm = r#"{"realm": "acme", "roles": {},
        "groups": [{"id": "g", "name": "file-editors", "path": "/file-editors"}],
        "users": [{"id": "id-ann", "username": "ann", "enabled": true, "groups": ["/file-editors"]},
            {"id": "id-bob", "username": "bob", "enabled": true, "groups": []}]}"#;
    let pdp = Pdp::of(MCP, &[("realm.json", realm), ("token", "secret-0123456789")]);
    let Some(said) = runs("tests/authzen/mcp.py", &pdp, "secret-0123456789") else { return };
    let expected = "ann read_file: ran\nann delete_file: refused\nann read_file recursive: refused\n\
        bob read_file: refused\nnobody read_file: refused\n";
    assert_eq!(said, expected);
}
