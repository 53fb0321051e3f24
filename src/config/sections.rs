//! `[schedule]`, `[sync]`, `[guard]`, `[tokens]`, `[default_admin]`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::fault::Code;
use super::reader::{Node, Read, Table, all, child};
use super::role::RoleNames;
use super::types::{DefaultAdmin, Schedule, Sync, TokensConfig};
use super::value::{cron, default_schedule};
use crate::directory::local;
use crate::model::check_role_name;
use crate::model::username::UsernameFrom;
use crate::model::{Mode, username};
use crate::plan::Guard;
use crate::resolve::{LinkBy, Provision, RoleDefinition};

/// The words of `sync_mode`.
pub(super) const MODES: [(&str, Mode); 4] = [
    ("force", Mode::Force),
    ("import", Mode::Import),
    ("merge", Mode::Merge),
    ("ignore", Mode::Ignore),
];

/// The words of `link_by`.
pub(super) const LINKS: [(&str, LinkBy); 2] =
    [("username", LinkBy::Username), ("email", LinkBy::Email)];

/// `[schedule]`
pub(super) fn schedule(root: &Table<'_>) -> Read<Schedule> {
    let Some(default) = default_schedule() else {
        return Err(root.missing("schedule.cron", "required key is missing"));
    };
    let Some(node) = root.get("schedule") else { return Ok(default) };
    let table = node.table()?;
    let expression = table.or("cron", (default.cron, default.cron_text), |node| node.parsed(cron));
    let jitter = table.or("jitter", default.jitter, Node::duration);
    table.finish();
    let (cron, cron_text) = expression?;
    Ok(Schedule { cron, cron_text, jitter: jitter? })
}

/// `[sync]`, with the `link_by` of sources that have none of their own.
pub(super) fn sync(root: &Table<'_>) -> Read<(Sync, LinkBy)> {
    let table = match root.get("sync") {
        Some(node) => Some(node.table()?),
        None => None,
    };
    let defaults = Sync {
        default_mode: Mode::Merge,
        missing_after: Some(Duration::from_secs(3_600)),
        provision: Provision::All,
        username: UsernameFrom::Username,
    };
    let Some(table) = table else { return Ok((defaults, LinkBy::Username)) };
    let default_mode = table.or("default_mode", defaults.default_mode, |node| node.one_of(&MODES));
    let missing_after = table.or("on_missing", defaults.missing_after, on_missing);
    let provision = table.or("provision", defaults.provision, |node| {
        node.one_of(&[("all", Provision::All), ("mapped", Provision::Mapped)])
    });
    let username = table.or("username", defaults.username, |node| {
        node.one_of(&[("username", UsernameFrom::Username), ("email", UsernameFrom::Email)])
    });
    let link_by = table.or("link_by", LinkBy::Username, |node| node.one_of(&LINKS));
    table.finish();
    let sync = Sync {
        default_mode: default_mode?,
        missing_after: missing_after?,
        provision: provision?,
        username: username?,
    };
    Ok((sync, link_by?))
}

/// `{ after = "1h" }`; `"never"` is `None`.
fn on_missing(node: &Node<'_>) -> Read<Option<Duration>> {
    let Some(table) = node.as_table() else {
        return Err(node.wrong_type("`{ after = \"…\" }`"));
    };
    let after = table.required("after", |node| match node.string()? {
        "never" => Ok(None),
        _ => node.duration().map(Some),
    });
    table.finish();
    after
}

/// `[tokens]`
pub(super) fn tokens(root: &Table<'_>) -> Read<TokensConfig> {
    let defaults = TokensConfig { max_lifetime: Duration::from_secs(365 * 86_400) };
    let Some(node) = root.get("tokens") else { return Ok(defaults) };
    let table = node.table()?;
    let max_lifetime = table.or("max_lifetime", defaults.max_lifetime, Node::some_duration);
    table.finish();
    Ok(TokensConfig { max_lifetime: max_lifetime? })
}

/// `[guard]`, and where each protected role stands.
pub(super) struct ReadGuard {
    /// The guard.
    pub guard: Read<Guard>,
    /// Names that are protected, with their places and keys.
    pub protected: Vec<(String, Range<usize>, String)>,
}

/// `[guard]`
pub(super) fn guard(root: &Table<'_>) -> ReadGuard {
    let defaults = Guard {
        max_lost_percent: 10.0,
        max_lost_floor: 20,
        max_disabled_percent: 10.0,
        protected_roles: BTreeMap::new(),
        window: Duration::from_secs(3_600),
    };
    let Some(node) = root.get("guard") else {
        return ReadGuard { guard: Ok(defaults), protected: Vec::new() };
    };
    let table = match node.table() {
        Ok(table) => table,
        Err(reported) => return ReadGuard { guard: Err(reported), protected: Vec::new() },
    };
    let max_lost_percent = table.or("max_lost_percent", defaults.max_lost_percent, Node::percent);
    let max_lost_floor =
        table.or("max_lost_floor", defaults.max_lost_floor, |node| node.integer(0..=u64::MAX));
    let max_disabled_percent =
        table.or("max_disabled_percent", defaults.max_disabled_percent, Node::percent);
    let window = table.or("window", defaults.window, Node::duration);
    let mut protected = Vec::new();
    let protected_roles = table.or("protected_roles", BTreeMap::new(), |node| {
        let table = match node.as_table() {
            Some(table) => table,
            None => return Err(node.wrong_type("a table such as `{ osmo-admin = 1 }`")),
        };
        let entries = all(table.entries().into_iter().map(|(name, span, node)| {
            let named = check_role_name(name).map_err(|error| node.bad(error.to_string()));
            if named.is_ok() {
                protected.push((name.to_owned(), span, child(&table.key, name)));
            }
            let least = node.integer(0..=u64::MAX);
            named.and(least).map(|least| (name.to_owned(), least))
        }));
        Ok(entries?.into_iter().collect())
    });
    table.finish();
    let guard = (|| {
        Ok(Guard {
            max_lost_percent: max_lost_percent?,
            max_lost_floor: max_lost_floor?,
            max_disabled_percent: max_disabled_percent?,
            protected_roles: protected_roles?,
            window: window?,
        })
    })();
    ReadGuard { guard, protected }
}

/// The role of a `[default_admin]` that names none: OSMO's.
const ADMIN: &str = "osmo-admin";

/// `[default_admin]`. `roles`: those under `[roles]`, as far as they could be read.
pub(super) fn default_admin(
    root: &Table<'_>,
    known: &RoleNames,
    roles: Option<&BTreeMap<String, RoleDefinition>>,
) -> Read<Option<DefaultAdmin>> {
    let Some(node) = root.get("default_admin") else { return Ok(None) };
    let table = node.table()?;
    let username = table.or("username", "admin".to_owned(), |node| {
        let name = node.text()?;
        local::check_id(&name).map_err(|error| node.bad(error.to_string()))?;
        username::canonical(&name)
            .map(|name| name.into_owned())
            .map_err(|error| node.bad(error.to_string()))
    });
    let password = table.required("password", Node::secret);
    let usable = |name: &str| match roles.map(|roles| roles.get(name)) {
        Some(Some(role)) if role.everyone => {
            Err("is everyone's, so holding it makes nobody an administrator")
        }
        Some(None) => {
            Err("is made by a template where a source has it; name one that is declared \
                           under `[roles]`")
        }
        Some(Some(_)) | None => Ok(()),
    };
    let role = match table.get("role") {
        Some(node) => node.text().and_then(|name| {
            known.check(&node, &name)?;
            let fault =
                |why| node.fault(Code::Conflict, format!("role `{}` {why}", name.escape_debug()));
            usable(&name).map_err(fault)?;
            Ok(name)
        }),
        None if roles.is_none_or(|roles| roles.contains_key(ADMIN)) => match usable(ADMIN) {
            Ok(()) => Ok(ADMIN.to_owned()),
            Err(why) => Err(table.missing("role", format!("role `{ADMIN}` {why}"))),
        },
        None => Err(table.missing(
            "role",
            format!(
                "is `{ADMIN}` where it is absent, and there is no such role: name one of `[roles]`"
            ),
        )),
    };
    table.finish();
    Ok(Some(DefaultAdmin { username: username?, password: password?, role: role? }))
}
