//! Who does something by hand.

use nix::unistd::{Uid, User, getuid};

use crate::model::{Actor, Deed};

/// The real user: the process's real uid with its name in the user database, and under sudo who
/// called it. The environment counts for the latter alone, and only where root runs this: anybody
/// could have written it otherwise.
pub(super) fn account() -> String {
    let variable = |name| std::env::var(name).ok();
    words(getuid().as_raw(), name, variable("SUDO_UID"), variable("SUDO_USER"))
}

/// The same, as who does something.
pub(super) fn actor() -> Actor {
    Actor::Account(account())
}

/// A uid's name in the user database.
fn name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

fn words(
    uid: u32,
    name: impl Fn(u32) -> Option<String>,
    sudo_uid: Option<String>,
    sudo_user: Option<String>,
) -> String {
    let known = |uid: u32| match name(uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    };
    let account = known(uid);
    if uid != 0 {
        return account;
    }
    let caller = match (sudo_uid.and_then(|uid| uid.trim().parse().ok()), sudo_user) {
        (Some(0), _) | (None, None) => return account,
        (Some(uid), _) => known(uid),
        (None, Some(user)) if user.trim().is_empty() || user == "root" => return account,
        (None, Some(user)) => user,
    };
    format!("{account}, by sudo for {caller}")
}

/// Who does it and why, where that was said.
pub(super) fn deed(reason: Option<&str>) -> Option<Deed> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty())?;
    Some(Deed { by: actor(), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_it_is_the_real_user_and_never_unknown() {
        let name = |uid| match uid {
            0 => Some("root".to_owned()),
            1000 => Some("ada".to_owned()),
            _ => None,
        };
        // uid, SUDO_UID, SUDO_USER
        let cases = [
            (1000, None, None, "ada (uid 1000)"),
            (4711, None, None, "uid 4711"),
            (0, None, None, "root (uid 0)"),
            // Anybody can set these: only root's were set by sudo.
            (1000, Some("0"), Some("root"), "ada (uid 1000)"),
            (4711, Some("1000"), Some("ada"), "uid 4711"),
            (0, Some("1000"), Some("ada"), "root (uid 0), by sudo for ada (uid 1000)"),
            (0, Some("1000"), None, "root (uid 0), by sudo for ada (uid 1000)"),
            // The number decides, not the text beside it.
            (0, Some("1000"), Some("eve"), "root (uid 0), by sudo for ada (uid 1000)"),
            (0, Some("4711"), Some("gone"), "root (uid 0), by sudo for uid 4711"),
            (0, Some("x"), Some("bob"), "root (uid 0), by sudo for bob"),
            (0, Some(""), Some(""), "root (uid 0)"),
            (0, Some("0"), Some("root"), "root (uid 0)"),
        ];
        for (uid, sudo_uid, sudo_user, expected) in cases {
            let said = words(uid, name, sudo_uid.map(str::to_owned), sudo_user.map(str::to_owned));
            assert_eq!(said, expected, "{uid} {sudo_uid:?} {sudo_user:?}");
        }
    }
}
