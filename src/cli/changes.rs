//! How a plan's changes read: losses first, one by one while they are few, by what causes them where
//! they are many.

use super::print::{Style, Table, count, shown, wrap};
use crate::model::{ChangeKind, Origin};
use crate::plan::{ChangeView, Changes, Gist, Held};

/// The most changes of one kind that are told one by one: on a terminal what a person still reads;
/// elsewhere what a mail or a log still bears.
const EACH_ON_TERMINAL: usize = 30;
const EACH_ELSEWHERE: usize = 200;

/// Of losses so many are told by name.
const NAMED_LOSSES: usize = 200;

/// Of every other group the first so many.
const NAMED: usize = 5;

/// The most groups of one kind; of losses as many as names.
const GROUPS: usize = 40;

/// How the changes of one section are signed.
struct Section {
    title: &'static str,
    kinds: &'static [ChangeKind],
}

/// The sections in the order in which they are shown: what is lost before what is gained.
const SECTIONS: [Section; 7] = [
    Section { title: "Lost", kinds: &[ChangeKind::GrantRemoved] },
    Section {
        title: "Users disabled or gone",
        kinds: &[ChangeKind::UserDeprovisioned, ChangeKind::UserDisabled, ChangeKind::UserMissing],
    },
    Section { title: "Roles gone", kinds: &[ChangeKind::RoleRemoved] },
    Section {
        title: "Access tokens",
        kinds: &[ChangeKind::TokenRemoved, ChangeKind::TokenRoleLost, ChangeKind::TokenAdded],
    },
    Section {
        title: "Roles and catalog",
        kinds: &[
            ChangeKind::RoleAdded,
            ChangeKind::RoleChanged,
            ChangeKind::CatalogChanged,
            ChangeKind::WorkloadChanged,
        ],
    },
    Section {
        title: "Users",
        kinds: &[
            ChangeKind::UserCreated,
            ChangeKind::UserReturned,
            ChangeKind::UserEnabled,
            ChangeKind::UserRenamed,
            ChangeKind::EmailChanged,
        ],
    },
    Section { title: "Gained", kinds: &[ChangeKind::GrantAdded] },
];

fn is_loss(kind: ChangeKind) -> bool {
    Sign::of(kind) == Sign::Minus || kind == ChangeKind::UserMissing
}

/// Whether something comes, goes, or is otherwise than it was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    Other,
}

impl Sign {
    pub(super) fn of(kind: ChangeKind) -> Sign {
        match kind {
            ChangeKind::RoleAdded
            | ChangeKind::UserCreated
            | ChangeKind::UserReturned
            | ChangeKind::UserEnabled
            | ChangeKind::GrantAdded
            | ChangeKind::TokenAdded => Sign::Plus,
            ChangeKind::RoleRemoved
            | ChangeKind::UserDisabled
            | ChangeKind::UserDeprovisioned
            | ChangeKind::GrantRemoved
            | ChangeKind::TokenRemoved
            | ChangeKind::TokenRoleLost => Sign::Minus,
            ChangeKind::RoleChanged
            | ChangeKind::UserRenamed
            | ChangeKind::EmailChanged
            | ChangeKind::UserMissing
            | ChangeKind::LinkAdded
            | ChangeKind::LinkRemoved
            | ChangeKind::LinkRefused
            | ChangeKind::LinkAccepted
            | ChangeKind::GrantReasons
            | ChangeKind::CatalogChanged
            | ChangeKind::WorkloadChanged => Sign::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Sign::Plus => "+",
            Sign::Minus => "-",
            Sign::Other => "~",
        }
    }

    fn shown(self, style: Style) -> String {
        match self {
            Sign::Plus => style.green(self.as_str()),
            Sign::Minus => style.red(self.as_str()),
            Sign::Other => style.yellow(self.as_str()),
        }
    }
}

/// The lines of `changes`; with `all` every change has its own.
pub(super) fn lines(changes: Changes<'_>, all: bool, style: Style) -> Vec<String> {
    let each = match (all, style.width()) {
        (true, _) => usize::MAX,
        (false, Some(_)) => EACH_ON_TERMINAL,
        (false, None) => EACH_ELSEWHERE,
    };
    let all_counts = changes.counts();
    let count_of = |kind: ChangeKind| all_counts.get(&kind).copied().unwrap_or(0);
    let mut out = Vec::new();
    let mut grouped = false;
    for Section { title, kinds } in SECTIONS {
        let counts: Vec<(ChangeKind, usize)> =
            kinds.iter().map(|kind| (*kind, count_of(*kind))).filter(|(_, n)| *n > 0).collect();
        let total: usize = counts.iter().map(|(_, count)| count).sum();
        if total == 0 {
            continue;
        }
        out.push(format!("  {title} ({total})"));
        let (few, many): (Vec<_>, Vec<_>) = counts.iter().partition(|(_, count)| *count <= each);
        for (kind, _) in many {
            grouped = true;
            let names = if is_loss(kind) { NAMED_LOSSES } else { NAMED };
            out.extend(gist_lines(kind, changes.gist(kind, names), style));
        }
        let few: Vec<ChangeView> = few.iter().flat_map(|(kind, _)| changes.of(*kind)).collect();
        out.extend(each_line(few, style));
    }
    let other = count_of(ChangeKind::GrantReasons);
    if other > 0 {
        out.push(format!(
            "  {} for other reasons than before (`--output json` has them)",
            count(other as u64, "grant stands", "grants stand")
        ));
    }
    if grouped {
        out.push("  `--all` tells every change one by one.".to_owned());
    }
    out
}

/// A line for each.
fn each_line(mut mine: Vec<ChangeView>, style: Style) -> Vec<String> {
    let key = |change: &ChangeView| {
        let named = change.user.is_some() || change.role.is_some();
        let names = (change.user.clone(), change.token.clone(), change.role.clone());
        (!named, names, change.change.as_str())
    };
    mine.sort_by_cached_key(key);
    let mut table = Table::default();
    for change in &mine {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let what = match change.change {
            ChangeKind::GrantAdded | ChangeKind::GrantRemoved => {
                let local = change.origin == Some(Origin::Local);
                format!("{}{}", text(&change.role), if local { " (local)" } else { "" })
            }
            ChangeKind::TokenAdded | ChangeKind::TokenRemoved => {
                format!("token {}", text(&change.token))
            }
            ChangeKind::TokenRoleLost => {
                format!("token {}: {}", text(&change.token), text(&change.role))
            }
            ChangeKind::UserCreated => text(&change.new),
            ChangeKind::RoleAdded => String::new(),
            ChangeKind::RoleChanged => "changed".to_owned(),
            ChangeKind::CatalogChanged | ChangeKind::WorkloadChanged => "changed".to_owned(),
            other => other.as_str().trim_start_matches("user-").replace('-', " "),
        };
        let why = match (change.change, &change.old, &change.new) {
            (ChangeKind::UserRenamed | ChangeKind::EmailChanged, Some(old), Some(new)) => {
                format!("{old} → {new}")
            }
            _ => text(&change.why),
        };
        let who = change.user.clone().or_else(|| change.role.clone());
        let who = who.unwrap_or_else(|| match change.change {
            ChangeKind::WorkloadChanged => "(cloud identities)".to_owned(),
            _ => "(catalog)".to_owned(),
        });
        table.row([Sign::of(change.change).as_str(), &who, &what, &why]);
    }
    let signs: Vec<Sign> = mine.iter().map(|change| Sign::of(change.change)).collect();
    table.lines("    ", |row, column, cell| match (column, signs.get(row)) {
        (0, Some(sign)) => sign.shown(style),
        (3, _) => style.dim(cell),
        _ => cell.to_owned(),
    })
}

/// Under a group's line: as far in as its text.
const UNDER: &str = "         ";

/// The changes of one kind by what causes them: per role and rule how many, through what, who first.
fn gist_lines(kind: ChangeKind, gists: Vec<Gist>, style: Style) -> Vec<String> {
    let mut out = Vec::new();
    let most_groups = if is_loss(kind) { NAMED_LOSSES } else { GROUPS };
    let more = gists.split_at_checked(most_groups).map_or(&[][..], |(_, more)| more);
    let (groups, rest): (usize, u64) = (more.len(), more.iter().map(|gist| gist.count).sum());
    // Of losses as many names as there is room for, and of every group the first few.
    let mut room = NAMED_LOSSES;
    for gist in gists.iter().take(most_groups) {
        let what = match &gist.role {
            Some(role) if gist.origin == Some(Origin::Local) => format!("{role} (local)"),
            Some(role) => role.clone(),
            None => noun(kind).to_owned(),
        };
        let cause = if gist.cause.is_empty() { String::new() } else { format!(", {}", gist.cause) };
        let head = shown(&format!("{what}: {}{cause}", people(kind, gist.count)));
        let mark = format!("    {}  ", Sign::of(kind).shown(style));
        out.extend(wrap(&format!("{mark}{head}"), style.width(), UNDER));
        let ways: Vec<String> =
            gist.ways.iter().take(3).map(|(way, many)| format!("{way} ({many})")).collect();
        if !ways.is_empty() {
            let more = gist.ways.len() - ways.len();
            let more = if more > 0 {
                format!(", and {}", count(more as u64, "more way", "more ways"))
            } else {
                String::new()
            };
            let line = shown(&format!("through {}{more}", ways.join(", ")));
            out.extend(
                wrap(&format!("{UNDER}{line}"), style.width(), UNDER)
                    .iter()
                    .map(|line| style.dim(line)),
            );
        }
        let most = if is_loss(kind) { room.max(NAMED) } else { NAMED };
        let names: Vec<&str> = gist.names.iter().take(most).map(String::as_str).collect();
        room = room.saturating_sub(names.len());
        let more = gist.count.saturating_sub(names.len() as u64);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let line = shown(&format!("{}{more}", names.join(", ")));
        out.extend(wrap(&format!("{UNDER}{line}"), style.width(), UNDER));
    }
    if groups > 0 {
        let groups = count(groups as u64, "other role or rule", "other roles and rules");
        out.push(format!("    … and {} by {groups}", count(rest, "more", "more")));
    }
    out
}

/// What a group without a role is called.
fn noun(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::UserCreated => "new",
        ChangeKind::UserReturned => "back again",
        ChangeKind::UserEnabled => "enabled",
        ChangeKind::UserRenamed => "renamed",
        ChangeKind::EmailChanged => "another email address",
        ChangeKind::UserMissing => "missing",
        ChangeKind::UserDisabled => "disabled",
        ChangeKind::UserDeprovisioned => "deprovisioned",
        ChangeKind::RoleAdded | ChangeKind::TokenAdded => "new",
        ChangeKind::RoleChanged => "changed",
        ChangeKind::RoleRemoved | ChangeKind::TokenRemoved => "gone",
        ChangeKind::TokenRoleLost => "a role lost",
        _ => "changed",
    }
}

fn people(kind: ChangeKind, number: u64) -> String {
    match kind {
        ChangeKind::RoleAdded | ChangeKind::RoleChanged | ChangeKind::RoleRemoved => {
            count(number, "role", "roles")
        }
        ChangeKind::TokenAdded | ChangeKind::TokenRemoved => count(number, "token", "tokens"),
        ChangeKind::TokenRoleLost => count(number, "token loses it", "tokens lose it"),
        ChangeKind::GrantRemoved => count(number, "person loses it", "people lose it"),
        ChangeKind::GrantAdded => count(number, "person gains it", "people gain it"),
        _ => count(number, "person", "people"),
    }
}

/// What the guard holds.
pub(super) fn held_lines(held: &Held, all: bool, style: Style) -> Vec<String> {
    let mut out = vec![style.bold(&format!(
        "Held: plan {} ({}, {} lost), waiting since {}",
        held.id,
        count(held.changes.len() as u64, "change", "changes"),
        count(held.lost_pairs, "effective pair", "effective pairs"),
        held.since
    ))];
    for why in &held.why {
        out.push(format!("  {} {}", style.yellow("!"), shown(why)));
    }
    out.extend(lines(Changes::Worded(&held.changes), all, style));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(change: ChangeKind, user: &str, role: &str) -> ChangeView {
        let text = format!(
            r#"{{"change": "{change}", "user": "{user}", "role": "{role}", "origin": "idp",
                 "why": "no source says so any more; it came through group `/{role}` (a, b)"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn each_of_200_losses_is_told_by_name_however_many_roles_they_are_of() {
        for roles in [1, 7, 60, 200] {
            let name = |n: usize| format!("p{n:03}x");
            let lost: Vec<ChangeView> = (0..200)
                .map(|n| grant(ChangeKind::GrantRemoved, &name(n), &format!("r{}", n % roles)))
                .collect();
            let text = lines(Changes::Worded(&lost), false, Style::plain(Some(80))).join("\n");
            for n in 0..200 {
                assert!(text.contains(&name(n)), "{} of {roles} roles\n{text}", name(n));
            }
        }
    }

    #[test]
    fn losses_come_before_gains_and_many_of_either_are_told_by_cause() {
        let of = |change: ChangeKind, many: usize| -> Vec<ChangeView> {
            (0..many).map(|n| grant(change, &format!("u{n:04}"), "admin")).collect()
        };
        for (gained, lost, width, expected) in [
            (30, 30, Some(80), 60),
            (31, 31, Some(80), 2),
            (200, 200, None, 400),
            (201, 201, None, 2),
        ] {
            let all =
                [of(ChangeKind::GrantAdded, gained), of(ChangeKind::GrantRemoved, lost)].concat();
            let text = lines(Changes::Worded(&all), false, Style::plain(width));
            let signed = |sign: &str| {
                let mine = format!("    {sign}  ");
                let at = text.iter().enumerate().filter(|(_, line)| line.starts_with(&mine));
                at.map(|(place, _)| place).collect::<Vec<_>>()
            };
            let (minus, plus) = (signed("-"), signed("+"));
            assert_eq!(minus.len() + plus.len(), expected, "{gained} {width:?}");
            assert!(minus.last() < plus.first(), "{text:#?}");
            let every = lines(Changes::Worded(&all), true, Style::plain(width));
            assert_eq!(every.len(), gained + lost + 2, "with --all");
        }
    }
}
