//! The status line: how the daemon stands, in one line for `systemctl status`.

use std::collections::BTreeSet;
use std::fmt;

use super::leading::WhoLeads;
use super::schedule::Why;
use crate::model::{Time, rfc3339};

/// systemd keeps a status line of any length, people do not read one.
const LONGEST: usize = 1000;

/// How far the run under way is, and since when it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Running {
    /// The sources are asked.
    Reading(Time),
    /// All that was asked has been heard.
    Writing(Time),
}

/// How the daemon stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DaemonStatus {
    /// The store's generation; absent before it was loaded.
    pub generation: Option<u64>,
    /// Which daemon leads.
    pub leads: WhoLeads,
    /// When the last run started, and why it came to nothing, if it did.
    pub last: Option<(Time, Option<String>)>,
    /// Sources whose last read was not whole.
    pub failing: BTreeSet<String>,
    /// The id of the held plan.
    pub held: Option<String>,
    /// Why the configuration file is not in force.
    pub broken: Option<String>,
    /// The run under way.
    pub running: Option<Running>,
    /// The next run.
    pub next: Option<(Time, Why)>,
}

impl fmt::Display for DaemonStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DaemonStatus { generation, leads, last, failing, held, broken, running, next } = self;
        match generation {
            Some(generation) => write!(f, "generation {generation}")?,
            None => f.write_str("the store is not loaded yet")?,
        }
        match last {
            Some((at, None)) => write!(f, "; last run {}", rfc3339(*at))?,
            Some((at, Some(why))) => write!(f, "; last run {} failed: {why}", rfc3339(*at))?,
            None => {}
        }
        if !failing.is_empty() {
            let names: Vec<&str> = failing.iter().map(String::as_str).collect();
            write!(f, "; failing: {}", names.join(", "))?;
        }
        if let Some(id) = held {
            write!(f, "; held plan {id}")?;
        }
        match (running, next) {
            (None, _) if let WhoLeads::Another(by) = leads => match by {
                Some(by) => write!(f, "; follows: {by} leads")?,
                None => f.write_str("; follows: another daemon leads")?,
            },
            (Some(Running::Reading(since)), _) => {
                write!(f, "; reading, run of {}", rfc3339(*since))?;
            }
            (Some(Running::Writing(since)), _) => {
                write!(f, "; planning and writing, run of {}", rfc3339(*since))?;
            }
            (None, Some((_, Why::Start | Why::Reload))) => f.write_str("; next run now")?,
            (None, Some((at, why))) => {
                write!(f, "; next run {} ({})", rfc3339(*at), why.as_str())?;
            }
            (None, None) => f.write_str("; no further run: the schedule has come to its end")?,
        }
        if let Some(broken) = broken {
            write!(f, "; the old configuration is in force: {broken}")?;
        }
        Ok(())
    }
}

impl DaemonStatus {
    /// The line, fit for the protocol: a line end in a message would start another assignment.
    #[must_use]
    pub fn line(&self) -> String {
        one_line(&self.to_string())
    }
}

/// `text` on one line, not too long.
#[must_use]
pub fn one_line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if text.chars().count() <= LONGEST {
        return clean.collect();
    }
    clean.take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        crate::model::parse_rfc3339(&format!("2026-03-01T{text}Z")).unwrap()
    }

    #[test]
    fn the_line_tells_generation_last_run_failures_held_plan_and_next_run() {
        let status = DaemonStatus {
            generation: Some(12),
            leads: WhoLeads::Here,
            last: Some((at("10:00:00"), None)),
            failing: ["ldap".to_owned(), "keycloak".to_owned()].into(),
            held: Some("3fa9c1d2e4b5".to_owned()),
            broken: None,
            running: None,
            next: Some((at("10:05:17"), Why::Tick)),
        };
        assert_eq!(
            status.line(),
            "generation 12; last run 2026-03-01T10:00:00Z; failing: keycloak, ldap; held plan \
             3fa9c1d2e4b5; next run 2026-03-01T10:05:17Z (schedule)"
        );
    }

    #[test]
    fn a_broken_configuration_a_failed_run_and_a_run_under_way_are_told() {
        let status = DaemonStatus {
            last: Some((at("10:00:00"), Some("the disk is full".to_owned()))),
            broken: Some("2 faults in `a.toml`".to_owned()),
            running: Some(Running::Writing(at("10:05:00"))),
            ..DaemonStatus::default()
        };
        assert_eq!(
            status.line(),
            "the store is not loaded yet; last run 2026-03-01T10:00:00Z failed: the disk is full; \
             planning and writing, run of 2026-03-01T10:05:00Z; the old configuration is in force: 2 faults in \
             `a.toml`"
        );
    }

    #[test]
    fn whoever_follows_tells_who_leads_and_of_no_run_of_its_own() {
        let leader = crate::store::Leader::new("db1", 12, at("10:00:00"));
        for (leads, told) in [
            (
                WhoLeads::Another(Some(leader)),
                "generation 3; follows: process 12 on db1 since 2026-03-01T10:00:00Z leads",
            ),
            (WhoLeads::Another(None), "generation 3; follows: another daemon leads"),
            (WhoLeads::Unknown, "generation 3; next run now"),
            (WhoLeads::Here, "generation 3; next run now"),
        ] {
            let status = DaemonStatus {
                generation: Some(3),
                leads,
                next: Some((at("10:05:17"), Why::Start)),
                ..DaemonStatus::default()
            };
            assert_eq!(status.line(), told);
        }
    }

    #[test]
    fn a_message_cannot_start_another_assignment_or_fill_the_screen() {
        let status = DaemonStatus {
            broken: Some(format!("a\nREADY=1\n{}", "x".repeat(5000))),
            ..DaemonStatus::default()
        };
        let line = status.line();
        assert!(!line.contains('\n'));
        assert_eq!(line.chars().count(), LONGEST + 1);
    }
}
