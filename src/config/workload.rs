//! `[workload]`: who pods are in the clouds.

use std::collections::BTreeMap;

use super::fault::Code;
use super::files::Absent;
use super::reader::{Node, Read, Table, all};
use super::value::BadValue;
use crate::model::{Diagnostic, DiagnosticCode, Subject, WorkloadIdentity};
use crate::platform::osmo::Osmo;
use crate::platform::workload::{Accounts, Workload, identities, read};

/// What `[workload]` comes to for the imported pools; nothing without the section.
pub(super) fn workload(
    root: &Table<'_>,
    import: &Read<Osmo>,
    warnings: &mut Vec<Diagnostic>,
) -> Read<Vec<WorkloadIdentity>> {
    let Some(node) = root.get("workload") else { return Ok(Vec::new()) };
    let table = node.table()?;
    let accounts = table.or("manifests", Accounts::new(), |node| manifests(node, warnings));
    let backends = table.or("backend", Vec::new(), |node| all(node.tables()?.iter().map(backend)));
    let associations =
        table.or("association", Vec::new(), |node| all(node.tables()?.iter().map(association)));
    table.finish();
    let mut workload = Workload { accounts: accounts?, ..Workload::default() };
    let mut first = BTreeMap::new();
    for (number, (name, namespace, taken)) in (1usize..).zip(backends?) {
        if let Some(first) = first.insert(name.clone(), number) {
            return Err(taken.report(format!("is the name of `workload.backend[{first}]` already")));
        }
        workload.backends.insert(name, namespace);
    }
    for (namespace, account, role) in associations? {
        workload.associations.entry((namespace, account)).or_default().insert(role);
    }
    let Ok(osmo) = import else { return Ok(Vec::new()) };
    if osmo.pools.is_empty() {
        warnings.push(Diagnostic::warning(DiagnosticCode::WorkloadNoPool, Subject::Setting("workload".to_owned()), "workload: no pool is imported (`[import] osmo`): who reaches which cloud identity cannot \
             be told"));
    }
    let (rows, told) = identities(osmo, &workload);
    warnings.extend(told);
    Ok(rows)
}

/// A manifest that is not there leaves its service accounts unknown; one that cannot be read or
/// understood is a fault.
fn manifests(node: &Node<'_>, warnings: &mut Vec<Diagnostic>) -> Read<Accounts> {
    let named = node.files(Absent::IsTold)?;
    for absent in named.absent {
        let means = ": which identities its service accounts bear is unknown";
        warnings.push(absent.told(means));
    }
    let mut manifests =
        read(named.found.iter().map(|file| (file.path.as_path(), file.text.as_str())));
    warnings.append(&mut manifests.diagnostics);
    let mut reported = None;
    for fault in manifests.faults {
        reported = Some(node.ctx.report_in(fault));
    }
    reported.map_or(Ok(manifests.accounts), Err)
}

/// Where a name stands that may be taken.
struct Taken<'a>(Node<'a>);

impl Taken<'_> {
    fn report(&self, message: String) -> super::reader::Reported {
        self.0.fault(Code::Conflict, message)
    }
}

/// `[[workload.backend]]`
fn backend<'a>(table: &Table<'a>) -> Read<(String, String, Taken<'a>)> {
    let name = table.required("name", |node| Ok((node.text()?, Taken(node.clone()))));
    let namespace = table.required("namespace", |node| node.parsed(dns_label));
    table.finish();
    let (name, taken) = name?;
    Ok((name, namespace?, taken))
}

/// `[[workload.association]]`
fn association(table: &Table<'_>) -> Read<(String, String, String)> {
    let namespace = table.required("namespace", |node| node.parsed(dns_label));
    let account = table.required("service_account", |node| node.parsed(account_name));
    let role = table.required("role_arn", |node| node.parsed(role_arn));
    table.finish();
    Ok((namespace?, account?, role?))
}

fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A namespace's name (RFC 1123).
fn dns_label(text: &str) -> Result<String, BadValue> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!(
        "`{}` cannot be a namespace: lower case, digits and `-`",
        text.escape_debug()
    )))
}

/// A service account's name: labels with dots between them.
fn account_name(text: &str) -> Result<String, BadValue> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!(
        "`{}` cannot be a service account: lower case, digits, `-` and `.`",
        text.escape_debug()
    )))
}

/// `arn:PARTITION:iam::ACCOUNT:role/NAME`
fn role_arn(text: &str) -> Result<String, BadValue> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let is_role = match parts.as_slice() {
        ["arn", _, "iam", "", account, rest] => {
            account.bytes().all(|b| b.is_ascii_digit())
                && rest.strip_prefix("role/").is_some_and(|name| !name.is_empty())
                && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        }
        _ => false,
    };
    if is_role {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!(
        "`{}` is not a role's ARN: expected the like of `arn:aws:iam::123456789012:role/name`",
        text.escape_debug()
    )))
}
