//! What was met in a read and has to be told: how often, and the first by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// Things that were seen but cannot be used: how many, and the smallest by name.
#[derive(Default)]
pub(super) struct Odd(BTreeSet<String>, u64);

impl Odd {
    const MOST: usize = 10;

    pub fn add(&mut self, what: &str) {
        self.1 = self.1.saturating_add(1);
        self.0.insert(what.to_owned());
        // The smallest names, not the first ones: the order of entries must not matter.
        if self.0.len() > Self::MOST {
            self.0.pop_last();
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.1
    }

    /// `12 entries (`uid=a`, `uid=b`, … and 2 more)`.
    pub fn shown(&self) -> String {
        let names: Vec<String> =
            self.0.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
        let more = match self.1.saturating_sub(names.len() as u64) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let entries = if self.1 == 1 { "entry" } else { "entries" };
        format!("{} {entries} ({}{more})", self.1, names.join(", "))
    }
}

/// Users with a value that cannot be understood, each by name with the value; beyond
/// [`Unclear::MOST`] only how many.
#[derive(Default)]
pub(super) struct Unclear(BTreeMap<String, String>, u64);

impl Unclear {
    const MOST: usize = 50;

    pub fn add(&mut self, dn: &str, what: String) {
        let before = self.0.insert(dn.to_owned(), what);
        self.1 = self.1.saturating_add(u64::from(before.is_none()));
        // The smallest names, not the first ones: the order of entries must not matter.
        if self.0.len() > Self::MOST {
            self.0.pop_last();
        }
    }

    /// A warning for each, and one for those beyond.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let told = |subject, message| {
            Diagnostic::warning(DiagnosticCode::ValueUnreadable, subject, message)
        };
        let each = self.0.iter().map(|(dn, what)| {
            let message = format!("user `{}`: {what}", dn.escape_debug());
            told(Subject::Account(dn.clone()), message)
        });
        let more = self.1.saturating_sub(self.0.len() as u64);
        let more = (more > 0).then(|| {
            told(Subject::None, format!("{more} more users have values that cannot be read"))
        });
        each.chain(more).collect()
    }
}
