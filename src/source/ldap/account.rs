//! Whether an account is enabled, by the attributes of each kind of server.
//!
//! | attribute | server | disabled when |
//! |---|---|---|
//! | `pwdAccountLockedTime` | OpenLDAP ppolicy | a time in year 0 (`000001010000Z`): locked for good by an administrator |
//! | `pwdStartTime`, `pwdEndTime` | OpenLDAP ppolicy | before the one, from the other on |
//! | `shadowExpire` | RFC 2307 | that day (since 1970) has come; 0 and less are never |
//! | `krbPrincipalExpiration` | MIT Kerberos, FreeIPA | from then on; the first moment of 1970 is never |
//! | `nsAccountLock` | 389-DS, FreeIPA | `true`, in any case |
//! | `nsRoleDN`, `nsRole` | 389-DS | a role by which accounts are inactivated ([`roles`](super::roles)) |
//! | `inetUserStatus` | Sun, 389-DS | `inactive`, `deleted` |
//! | `userAccountControl` | Active Directory | bit 2 |
//! | `accountExpires` | Active Directory | passed; 0 and 2^63 − 1 are never |
//! | `msDS-UserAccountDisabled` | AD LDS | `TRUE` |
//! | `ds-pwp-account-disabled` | OpenDJ, Ping | `true` |
//! | `ds-pwp-account-activation-time`, `ds-pwp-account-expiration-time` | OpenDJ, Ping | before the one, from the other on |
//! | `loginDisabled` | eDirectory | `TRUE` |
//! | `loginExpirationTime` | eDirectory | from then on |
//! | `orclIsEnabled` | Oracle | `DISABLED` |
//! | `orclActiveStartDate`, `orclActiveEndDate` | Oracle | before the one, from the other on |
//!
//! A `pwdAccountLockedTime` with a time of our days says that too many wrong passwords were tried
//! then. It stands there long after the lock has run out (how long it holds is in a policy that an
//! ordinary identity cannot read), and anyone can bring it about who knows a username. So it
//! disables nobody: who must not get in is locked for good.
//!
//! `shadowExpire: 0` is read as SSSD and the shadow suite read it, as no date at all (`pam_unix`
//! takes it for one that has passed).

use std::borrow::Cow;

use chrono::NaiveDate;

use super::entry::Entry;
use super::roles::Inactivation;
use super::time::{self, Moment};
use crate::directory::Enabled;
use crate::model::Time;

/// The attributes that [`judge`] reads, to be asked for by name: most are operational.
pub fn attributes() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name).chain(["nsRoleDN", "nsRole"])
}

/// What an entry says about its account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Whether it is enabled; [`Enabled::Unknown`] where what decides cannot be understood.
    pub enabled: Enabled,
    /// With [`Enabled::Unknown`]: what cannot be understood.
    pub unreadable: Option<Unreadable>,
}

/// A value that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// Its attribute.
    pub attribute: Cow<'static, str>,
    /// The value, without what does not print; `None`: it must have one and shows none.
    pub value: Option<String>,
    /// What it should have been.
    pub wanted: &'static str,
}

impl Unreadable {
    /// Notes `value` of `attribute`, which is no `wanted`.
    #[must_use]
    pub fn new(
        attribute: impl Into<Cow<'static, str>>,
        value: &[u8],
        wanted: &'static str,
    ) -> Self {
        let shown = value.get(..MOST_SHOWN).unwrap_or(value);
        let more = if shown.len() < value.len() { "…" } else { "" };
        let shown = match std::str::from_utf8(value) {
            Ok(text) => {
                text.chars().take(MOST_SHOWN).collect::<String>().escape_debug().to_string()
            }
            Err(_) => shown.escape_ascii().to_string(),
        };
        let value = Some(format!("{shown}{more}"));
        Unreadable { attribute: attribute.into(), value, wanted }
    }

    /// Notes that an entry does not show `attribute`, which it must have.
    #[must_use]
    pub fn hidden(attribute: &'static str) -> Self {
        Unreadable { attribute: attribute.into(), value: None, wanted: "" }
    }
}

/// Bytes of a value that a message shows.
const MOST_SHOWN: usize = 60;

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Unreadable { attribute, value, wanted } = self;
        match value {
            Some(value) => write!(f, "`{attribute}` is `{value}`, which is no {wanted}"),
            None => {
                write!(f, "`{attribute}` is not to be seen (grant this identity read access to it)")
            }
        }
    }
}

/// What `entry`, whose DN is `norm` in normal form, says about its account at `now`. `by_role` are
/// the roles by which its server inactivates accounts, as far as they are known; `must_show` is the
/// attribute that an account of the class `user` always has there.
#[must_use]
pub fn judge(
    entry: &Entry,
    norm: &str,
    by_role: &Inactivation,
    must_show: Option<&'static str>,
    now: Time,
) -> Account {
    let hidden = must_show
        .filter(|name| entry.is_a("user") && !entry.has(&name.to_ascii_lowercase()))
        .map(Unreadable::hidden);
    let mut unreadable = by_role.unreadable(norm).or(hidden);
    let mut disabled = by_role.concerns(entry, norm);
    for attribute in entry.names() {
        let Some((name, rule)) = rule_for(attribute) else { continue };
        match rule.says(entry, attribute, name, now) {
            Said::Enabled => {}
            // One attribute that says no decides; nothing weaker can take that back.
            Said::Disabled => disabled = true,
            Said::Unreadable(value) => {
                // The first by name, in whatever order they come.
                let first = unreadable.take().filter(|first| first.attribute < value.attribute);
                unreadable = Some(first.unwrap_or(value));
            }
        }
    }
    match (disabled, unreadable) {
        (true, _) => Account { enabled: Enabled::No, unreadable: None },
        (false, None) => Account { enabled: Enabled::Yes, unreadable: None },
        (false, unreadable) => Account { enabled: Enabled::Unknown, unreadable },
    }
}

/// What the values of an attribute mean.
enum Rule {
    /// A time in year 0 locks for good.
    Lock,
    /// The account is enabled from this time on.
    From,
    /// The account is disabled from this time on.
    Until,
    /// As [`Rule::Until`], but the first moment of 1970 is never: MIT Kerberos keeps "does not
    /// expire" as 0 and writes it so.
    UntilUnlessZero,
    /// As [`Rule::Until`], in days since 1970.
    Days,
    /// As [`Rule::Until`], in tenths of microseconds since 1601.
    Ticks,
    /// Flags, of which 2 disables.
    Flags,
    /// One of these words, in any case: those that enable, those that disable.
    Word(&'static [&'static str], &'static [&'static str]),
}

const TRUE_DISABLES: Rule = Rule::Word(&["false"], &["true"]);

/// Sorted by name, in any case.
const RULES: &[(&str, Rule)] = &[
    ("accountExpires", Rule::Ticks),
    ("ds-pwp-account-activation-time", Rule::From),
    ("ds-pwp-account-disabled", TRUE_DISABLES),
    ("ds-pwp-account-expiration-time", Rule::Until),
    ("inetUserStatus", Rule::Word(&["active"], &["inactive", "deleted"])),
    ("krbPrincipalExpiration", Rule::UntilUnlessZero),
    ("loginDisabled", TRUE_DISABLES),
    ("loginExpirationTime", Rule::Until),
    ("msDS-UserAccountDisabled", TRUE_DISABLES),
    ("nsAccountLock", TRUE_DISABLES),
    ("orclActiveEndDate", Rule::Until),
    ("orclActiveStartDate", Rule::From),
    ("orclIsEnabled", Rule::Word(&["enabled"], &["disabled"])),
    ("pwdAccountLockedTime", Rule::Lock),
    ("pwdEndTime", Rule::Until),
    ("pwdStartTime", Rule::From),
    ("shadowExpire", Rule::Days),
    ("userAccountControl", Rule::Flags),
];

/// The rule for `attribute` (its one name), and how the attribute is spelled.
fn rule_for(attribute: &str) -> Option<(&'static str, &'static Rule)> {
    let lower = |name: &'static str| name.bytes().map(|byte| byte.to_ascii_lowercase());
    let found = RULES.binary_search_by(|(name, _)| lower(name).cmp(attribute.bytes()));
    RULES.get(found.ok()?).map(|(name, rule)| (*name, rule))
}

/// What an attribute says about the account.
enum Said {
    Enabled,
    Disabled,
    Unreadable(Unreadable),
}

impl Rule {
    /// What the values of `attribute` (its one name), spelled `name`, say.
    fn says(&self, entry: &Entry, attribute: &str, name: &'static str, now: Time) -> Said {
        let values = entry.plainest(attribute);
        if !matches!(self, Rule::Word(..)) {
            let text = entry.text(attribute);
            let text = text.as_ref().map(|text| text.as_bytes());
            let value = text.or_else(|| values.first().map(Vec::as_slice));
            return self.judged(name, value.unwrap_or(&[]), now);
        }
        // A switch may stand there twice: off is off.
        let mut answer = Said::Enabled;
        for value in values {
            match self.judged(name, value, now) {
                Said::Enabled => {}
                Said::Disabled => return Said::Disabled,
                unreadable => answer = unreadable,
            }
        }
        answer
    }

    fn judged(&self, name: &'static str, value: &[u8], now: Time) -> Said {
        let enabled = std::str::from_utf8(value).ok().and_then(|text| self.enables(text, now));
        match enabled {
            Some(true) => Said::Enabled,
            Some(false) => Said::Disabled,
            None => Said::Unreadable(Unreadable::new(name, value, self.wants())),
        }
    }

    /// Whether `text` leaves the account enabled; nothing where it is not understood.
    fn enables(&self, text: &str, now: Time) -> Option<bool> {
        let text = text.trim();
        let time = || time::generalized(text);
        match self {
            Rule::Lock => time().map(|time| time.year != 0),
            Rule::From => time().map(|time| Moment::from(now) >= time.moment),
            Rule::Until => time().map(|time| Moment::from(now) < time.moment),
            Rule::UntilUnlessZero => {
                let until = time()?.moment;
                Some(until == Moment::from(Time::UNIX_EPOCH) || Moment::from(now) < until)
            }
            Rule::Days => {
                let day = text.parse::<i64>().ok()?;
                Some(day <= 0 || now.timestamp().div_euclid(86_400) < day)
            }
            Rule::Ticks => {
                let ticks = text.parse::<i64>().ok()?;
                if ticks == 0 || ticks == i64::MAX {
                    return Some(true);
                }
                let epoch = NaiveDate::from_ymd_opt(1601, 1, 1)?.and_hms_opt(0, 0, 0)?.and_utc();
                let since = now.signed_duration_since(epoch).num_seconds();
                Some(since < ticks / 10_000_000)
            }
            Rule::Flags => text.parse::<i64>().ok().map(|flags| flags & 2 == 0),
            Rule::Word(enable, disable) => {
                let is_one = |words: &[&str]| words.iter().any(|w| w.eq_ignore_ascii_case(text));
                if is_one(disable) { Some(false) } else { is_one(enable).then_some(true) }
            }
        }
    }

    fn wants(&self) -> &'static str {
        match self {
            Rule::Lock | Rule::From | Rule::Until | Rule::UntilUnlessZero => {
                "time (RFC 4517, section 3.3.13)"
            }
            Rule::Days => "number of days",
            Rule::Ticks | Rule::Flags => "number",
            Rule::Word(["false"], _) => "boolean (`TRUE`, `FALSE`)",
            Rule::Word(..) => "word that is known there",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled(entry: &Entry, now: Time) -> Enabled {
        judge(entry, "uid=a", &Inactivation::default(), None, now).enabled
    }

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(RULES.is_sorted_by_key(|(name, _)| name.to_ascii_lowercase()));
        for (name, _) in RULES {
            let found = rule_for(&name.to_ascii_lowercase()).map(|(found, _)| found);
            assert_eq!(found, Some(*name));
        }
    }

    #[test]
    fn each_server_says_in_its_own_way_that_an_account_is_disabled() {
        let now = crate::model::parse_rfc3339("2026-11-23T12:00:00Z").unwrap();
        let today = now.timestamp() / 86_400;
        let ad = (now.timestamp() + 11_644_473_600) * 10_000_000;
        let (today, tomorrow) = (today.to_string(), (today + 1).to_string());
        let (just, soon) = ((ad - 1).to_string(), (ad + 10_000_000).to_string());
        let never = i64::MAX.to_string();
        for (name, value, enabled_is) in [
            ("pwdAccountLockedTime", "000001010000Z", Enabled::No),
            ("pwdAccountLockedTime", "00000101000000Z", Enabled::No),
            ("pwdAccountLockedTime", "0000010100Z", Enabled::No),
            ("pwdAccountLockedTime", "00000101000000.000Z", Enabled::No),
            ("pwdAccountLockedTime", "00000101000000+0000", Enabled::No),
            ("pwdAccountLockedTime", "000001010000-05", Enabled::No),
            ("pwdAccountLockedTime", "20261123115900Z", Enabled::Yes),
            ("pwdAccountLockedTime", "20261123115900.123456Z", Enabled::Yes),
            ("pwdAccountLockedTime", "yesterday", Enabled::Unknown),
            ("pwdStartTime", "20261123115900Z", Enabled::Yes),
            ("pwdStartTime", "202611231201Z", Enabled::No),
            ("pwdStartTime", "2026112312Z", Enabled::Yes),
            ("pwdStartTime", "2026112312-01", Enabled::No),
            ("pwdEndTime", "20261123115900.5Z", Enabled::No),
            ("pwdEndTime", "20261124000000Z", Enabled::Yes),
            ("pwdEndTime", "2026112311.9Z", Enabled::No),
            ("pwdEndTime", "20261123123000+0100", Enabled::No),
            ("pwdEndTime", "20261123113000,0-0100", Enabled::Yes),
            ("pwdEndTime", "soon", Enabled::Unknown),
            ("pwdEndTime", "", Enabled::Unknown),
            ("shadowExpire", "-1", Enabled::Yes),
            ("shadowExpire", "0", Enabled::Yes),
            ("shadowExpire", "1", Enabled::No),
            ("shadowExpire", "18262 ", Enabled::No),
            ("shadowExpire", &today, Enabled::No),
            ("shadowExpire", &tomorrow, Enabled::Yes),
            ("shadowExpire", "never", Enabled::Unknown),
            ("krbPrincipalExpiration", "20200101000000Z", Enabled::No),
            ("krbPrincipalExpiration", "20991231235959Z", Enabled::Yes),
            ("krbPrincipalExpiration", "19700101000000Z", Enabled::Yes),
            ("krbPrincipalExpiration", "19700101000001Z", Enabled::No),
            ("pwdEndTime", "19700101000000Z", Enabled::No),
            ("nsAccountLock", "TRUE", Enabled::No),
            ("nsAccountLock", "true", Enabled::No),
            ("nsAccountLock", "False", Enabled::Yes),
            ("nsAccountLock", "yes", Enabled::Unknown),
            ("nsRoleDN", "cn=nsManagedDisabledRole,dc=x", Enabled::No),
            ("nsRole", "CN=nsDisabledRole,dc=x", Enabled::No),
            ("nsRoleDN", "cn=Admins,dc=x", Enabled::Yes),
            ("inetUserStatus", "inactive", Enabled::No),
            ("inetUserStatus", "Deleted", Enabled::No),
            ("inetUserStatus", "Active", Enabled::Yes),
            ("inetUserStatus", "hold", Enabled::Unknown),
            ("userAccountControl", "514", Enabled::No),
            ("userAccountControl", "512", Enabled::Yes),
            ("userAccountControl", "-2147483134", Enabled::No),
            ("userAccountControl", "0x202", Enabled::Unknown),
            ("accountExpires", "0", Enabled::Yes),
            ("accountExpires", &never, Enabled::Yes),
            ("accountExpires", &just, Enabled::No),
            ("accountExpires", &soon, Enabled::Yes),
            ("msDS-UserAccountDisabled", "TRUE", Enabled::No),
            ("ds-pwp-account-disabled", "true", Enabled::No),
            ("ds-pwp-account-disabled", "false", Enabled::Yes),
            ("ds-pwp-account-expiration-time", "20200101000000Z", Enabled::No),
            ("ds-pwp-account-activation-time", "20990101000000Z", Enabled::No),
            ("loginDisabled", "TRUE", Enabled::No),
            ("loginDisabled", "FALSE", Enabled::Yes),
            ("loginExpirationTime", "20200101000000Z", Enabled::No),
            ("orclIsEnabled", "DISABLED", Enabled::No),
            ("orclIsEnabled", "ENABLED", Enabled::Yes),
            ("orclActiveEndDate", "20200101000000Z", Enabled::No),
            ("orclActiveStartDate", "20990101000000Z", Enabled::No),
            ("description", "disabled", Enabled::Yes),
        ] {
            let mut entry = Entry::new("uid=a".to_owned());
            entry.add(name, [value.as_bytes().to_vec()]);
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

    #[test]
    fn of_several_values_the_plain_ones_count_and_one_switch_that_is_off_is_enough() {
        let now = crate::model::parse_rfc3339("2026-11-23T12:00:00Z").unwrap();
        for (attributes, enabled_is) in [
            ([("nsAccountLock", "false"), ("nsAccountLock", "true")], Enabled::No),
            ([("nsAccountLock", "odd"), ("nsAccountLock", "true")], Enabled::No),
            ([("nsAccountLock;x-old", "true"), ("nsAccountLock", "false")], Enabled::Yes),
            ([("nsAccountLock;deleted", "true"), ("cn", "a")], Enabled::Yes),
            ([("nsAccountLock;vucsn-6b08", "true"), ("cn", "a")], Enabled::No),
            (
                [("pwdEndTime;x-old", "20200101000000Z"), ("pwdEndTime", "2099010100Z")],
                Enabled::Yes,
            ),
            ([("pwdEndTime;x-a", "20200101000000Z"), ("cn", "a")], Enabled::No),
            ([("pwdEndTime", "2099010100Z"), ("pwdEndTime", "2020010100Z")], Enabled::No),
        ] {
            let mut entry = Entry::new("uid=a".to_owned());
            for (name, value) in attributes {
                entry.add(name, [value.as_bytes().to_vec()]);
            }
            assert_eq!(enabled(&entry, now), enabled_is, "{attributes:?}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_attribute_and_value() {
        let long = "x".repeat(100);
        for (name, value, told) in [
            ("pwdEndTime", b"soon\n".as_slice(), "`pwdEndTime` is `soon\\n`, which is no time"),
            ("loginDisabled", b"\xffno", "`loginDisabled` is `\\xffno`, which is no boolean"),
            ("shadowExpire", long.as_bytes(), "xxx…`, which is no number of days"),
            ("inetUserStatus", b"hold", "`inetUserStatus` is `hold`, which is no word"),
        ] {
            let mut entry = Entry::new("uid=a".to_owned());
            entry.add(name, [value.to_vec()]);
            let account = judge(&entry, "uid=a", &Inactivation::default(), None, Time::default());
            let told_is = account.unreadable.unwrap().to_string();
            assert!(told_is.contains(told), "{told_is}");
        }
    }

    #[test]
    fn an_account_that_hides_what_it_must_show_is_not_taken_for_an_enabled_one() {
        let judged = |class: &str, control: Option<&str>| {
            let mut entry = Entry::new("cn=a".to_owned());
            entry.add("objectClass", [class.as_bytes().to_vec()]);
            if let Some(control) = control {
                entry.add("userAccountControl", [control.as_bytes().to_vec()]);
            }
            let must = Some("userAccountControl");
            judge(&entry, "cn=a", &Inactivation::default(), must, Time::default())
        };
        assert_eq!(judged("user", Some("512")).enabled, Enabled::Yes);
        assert_eq!(judged("contact", None).enabled, Enabled::Yes);
        let hidden = judged("user", None);
        assert_eq!(hidden.enabled, Enabled::Unknown);
        assert!(hidden.unreadable.unwrap().to_string().contains("is not to be seen"));
    }
}
