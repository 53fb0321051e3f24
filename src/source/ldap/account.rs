//! Whether an account is enabled, by the attributes of each kind of server.
//!
//! | attribute | server | disabled when |
//! |---|---|---|
//! | `pwdAccountLockedTime` | OpenLDAP ppolicy | `000001010000Z`: locked for good by an administrator |
//! | `pwdStartTime`, `pwdEndTime` | OpenLDAP ppolicy | before the one, from the other on |
//! | `shadowExpire` | RFC 2307 | that day (since 1970) has come; `-1` is never |
//! | `nsAccountLock` | 389-DS, FreeIPA | `true`, in any case |
//! | `userAccountControl` | Active Directory | bit 2 |
//! | `accountExpires` | Active Directory | passed; 0 and 2^63 − 1 are never |
//!
//! A `pwdAccountLockedTime` with a time says that too many wrong passwords were tried then. It
//! stands there long after the lock has run out (how long it holds is in a policy that an ordinary
//! identity cannot read), and anyone can bring it about who knows a username. So it disables
//! nobody: who must not get in is locked for good.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::entry::Entry;
use crate::model::Time;
use crate::source::Enabled;

/// The attributes that [`enabled`] reads from an OpenLDAP server, to be asked for by name: most
/// are operational.
pub const ATTRIBUTES: &[&str] =
    &["pwdAccountLockedTime", "pwdStartTime", "pwdEndTime", "shadowExpire"];

/// Whether the account of `entry` is enabled at `now`. [`Enabled::Unknown`] where an attribute
/// that decides cannot be understood.
#[must_use]
pub fn enabled(entry: &Entry, now: Time) -> Enabled {
    let mut answer = Enabled::Yes;
    for (name, judge) in JUDGES {
        match entry.values(name).first().map(|value| std::str::from_utf8(value)) {
            None => {}
            Some(Err(_)) => answer = Enabled::Unknown,
            Some(Ok(value)) => match judge(value.trim(), now) {
                // One attribute that says no decides; nothing weaker can take that back.
                Some(false) => return Enabled::No,
                Some(true) => {}
                None => answer = Enabled::Unknown,
            },
        }
    }
    answer
}

/// Says of a value whether it leaves the account enabled; nothing where it is not understood.
type Judge = fn(&str, Time) -> Option<bool>;

const JUDGES: &[(&str, Judge)] = &[
    ("pwdaccountlockedtime", |value, _| Some(value != "000001010000Z")),
    ("pwdstarttime", |value, now| generalized(value).map(|start| now >= start)),
    ("pwdendtime", |value, now| generalized(value).map(|end| now < end)),
    ("shadowexpire", |value, now| {
        let day: i64 = value.parse().ok()?;
        // As pam_unix has it: on the day itself the account is expired already.
        Some(day < 0 || now.timestamp().div_euclid(86_400) < day)
    }),
    ("nsaccountlock", |value, _| Some(!value.eq_ignore_ascii_case("true"))),
    ("useraccountcontrol", |value, _| value.parse::<i64>().ok().map(|flags| flags & 2 == 0)),
    ("accountexpires", |value, now| {
        let ticks: i64 = value.parse().ok()?;
        if ticks == 0 || ticks == i64::MAX {
            return Some(true);
        }
        let epoch = NaiveDate::from_ymd_opt(1601, 1, 1)?.and_hms_opt(0, 0, 0)?.and_utc();
        let since = now.signed_duration_since(epoch).num_seconds();
        Some(since < ticks / 10_000_000)
    }),
];

/// A generalized time (RFC 4517, section 3.3.13) in UTC: `YYYYMMDDHHMM[SS[.f]]Z`.
fn generalized(text: &str) -> Option<DateTime<Utc>> {
    let digits = text.strip_suffix('Z')?;
    let digits = digits.split(['.', ',']).next()?;
    let padded = match digits.len() {
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return None,
    };
    Some(NaiveDateTime::parse_from_str(&padded, "%Y%m%d%H%M%S").ok()?.and_utc())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_server_says_in_its_own_way_that_an_account_is_disabled() {
        let now = crate::model::parse_rfc3339("2026-11-23T12:00:00Z").unwrap();
        let today = now.timestamp() / 86_400;
        let ad = (now.timestamp() + 11_644_473_600) * 10_000_000;
        for (name, value, enabled_is) in [
            ("pwdAccountLockedTime", "000001010000Z".to_owned(), Enabled::No),
            ("pwdAccountLockedTime", "20261123115900Z".to_owned(), Enabled::Yes),
            ("pwdStartTime", "20261123115900Z".to_owned(), Enabled::Yes),
            ("pwdStartTime", "202611231201Z".to_owned(), Enabled::No),
            ("pwdEndTime", "20261123115900.5Z".to_owned(), Enabled::No),
            ("pwdEndTime", "20261124000000Z".to_owned(), Enabled::Yes),
            ("pwdEndTime", "soon".to_owned(), Enabled::Unknown),
            ("shadowExpire", "-1".to_owned(), Enabled::Yes),
            ("shadowExpire", "1".to_owned(), Enabled::No),
            ("shadowExpire", today.to_string(), Enabled::No),
            ("shadowExpire", (today + 1).to_string(), Enabled::Yes),
            ("shadowExpire", "never".to_owned(), Enabled::Unknown),
            ("nsAccountLock", "TRUE".to_owned(), Enabled::No),
            ("nsAccountLock", "true".to_owned(), Enabled::No),
            ("nsAccountLock", "False".to_owned(), Enabled::Yes),
            ("userAccountControl", "514".to_owned(), Enabled::No),
            ("userAccountControl", "512".to_owned(), Enabled::Yes),
            ("accountExpires", "0".to_owned(), Enabled::Yes),
            ("accountExpires", i64::MAX.to_string(), Enabled::Yes),
            ("accountExpires", (ad - 1).to_string(), Enabled::No),
            ("accountExpires", (ad + 10_000_000).to_string(), Enabled::Yes),
            ("description", "disabled".to_owned(), Enabled::Yes),
        ] {
            let mut entry = Entry::new("uid=a".to_owned());
            entry.add(name, [value.clone().into_bytes()]);
            assert_eq!(enabled(&entry, now), enabled_is, "{name}: {value}");
        }
    }

    #[test]
    fn a_clear_no_outweighs_what_is_not_understood() {
        let now = crate::model::parse_rfc3339("2026-11-23T12:00:00Z").unwrap();
        let mut entry = Entry::new("uid=a".to_owned());
        entry.add("pwdEndTime", [b"soon".to_vec()]);
        entry.add("nsAccountLock", [b"true".to_vec()]);
        assert_eq!(enabled(&entry, now), Enabled::No);
    }
}
