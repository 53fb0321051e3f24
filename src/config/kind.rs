//! What the configuration asks of a kind of source, and nothing of what kinds there are.
//!
//! A kind reads its own keys of a `[[source]]` table ([`SourceKind`]) and answers for what they say
//! ([`KindSettings`]). Which kinds there are is handed in as [`Kinds`]: they live above this room.

use std::any::Any;
use std::fmt::Debug;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::reader::{Read, Table};
use super::types::SecretRef;
use crate::directory::local;
use crate::model::Diagnostic;
use crate::model::encoding::Encoder;
use crate::resolve::Names;

/// The kinds of source that a configuration may name, in the order in which messages list them.
#[derive(Clone)]
pub struct Kinds(Vec<&'static dyn SourceKind>);

impl Kinds {
    /// These.
    pub(crate) fn new(kinds: impl IntoIterator<Item = &'static dyn SourceKind>) -> Self {
        Kinds(kinds.into_iter().collect())
    }

    /// None: only the built-in source.
    #[must_use]
    pub fn none() -> Self {
        Kinds(Vec::new())
    }

    /// The kind that `kind = "word"` names.
    pub(super) fn named(&self) -> Vec<(&'static str, &'static dyn SourceKind)> {
        self.0.iter().map(|kind| (kind.word(), *kind)).collect()
    }

    /// Every form of table of every kind.
    pub(super) fn forms(&self) -> impl Iterator<Item = &'static TableForm> {
        self.0.iter().flat_map(|kind| kind.forms())
    }
}

/// A kind of source: how its tables are read.
pub(crate) trait SourceKind: Sync {
    /// Its word in `kind = "…"`.
    fn word(&self) -> &'static str;

    /// The forms that its tables have; most kinds have one.
    fn forms(&self) -> &'static [TableForm];

    /// Reads the keys of the kind, every one of them before the first fault is returned, and
    /// finishes the table ([`SourceTable::finish`]).
    fn read(&self, table: &mut SourceTable<'_, '_>) -> Read<Arc<dyn KindSettings>>;
}

/// A form of `[[source]]` tables.
pub(crate) struct TableForm {
    /// Whose keys these are, for people: `` `kind = "ldap"` ``, `` a file source with `ldif` ``.
    pub of: &'static str,
    /// The keys, besides those of every source.
    pub keys: &'static [&'static str],
}

/// What other sections may name of a source, as far as it could be read.
#[derive(Default)]
pub(crate) struct Facts {
    /// Its name.
    pub name: Option<String>,
    /// How its names compare; unknown where `kind` is at fault.
    pub names: Option<Names>,
    /// The clients whose roles count; unknown where the list is at fault.
    pub clients: Option<Vec<String>>,
}

/// A `[[source]]` table whose kind is known.
pub(crate) struct SourceTable<'t, 'a> {
    table: &'t Table<'a>,
    kinds: &'t Kinds,
    /// What the kind tells other sections.
    pub facts: &'t mut Facts,
}

impl<'t, 'a> SourceTable<'t, 'a> {
    pub(super) fn new(table: &'t Table<'a>, kinds: &'t Kinds, facts: &'t mut Facts) -> Self {
        SourceTable { table, kinds, facts }
    }

    /// Finishes the table, whose own keys are those of `forms`; keys of other kinds get a fault that
    /// says whose they are. `here` says where they mean nothing: `` for `kind = "ldap"` ``.
    pub fn finish(&self, here: &str, forms: &[&TableForm]) {
        let own = |key: &str| forms.iter().any(|form| form.keys.contains(&key));
        let mut refused: Vec<&'static str> = Vec::new();
        for key in self.kinds.forms().flat_map(|form| form.keys.iter().copied()) {
            if own(key) || refused.contains(&key) {
                continue;
            }
            let having = self.kinds.forms().filter(|form| form.keys.contains(&key));
            let whose: Vec<&str> = having.map(|form| form.of).collect();
            let why = format!("means nothing {here}: it belongs to {}", whose.join(" and "));
            self.table.refuse(key, &why);
            refused.push(key);
        }
        self.table.finish_but(&refused);
    }
}

impl<'a> Deref for SourceTable<'_, 'a> {
    type Target = Table<'a>;

    fn deref(&self) -> &Table<'a> {
        self.table
    }
}

/// What the keys of a source's kind say. Everything that other rooms need to know of a kind is
/// asked here or of the opened source; nobody outside its folder looks at which kind it is.
pub trait KindSettings: Any + Debug + Send + Sync {
    /// Its word in `kind = "…"`, as output and store have it.
    fn word(&self) -> &'static str;

    /// How its names compare.
    fn names(&self) -> Names;

    /// People may come without a stable id.
    fn without_ids(&self) -> bool;

    /// Where people may come without a stable id: how to write down what is read so that each has one, as an
    /// order. Absent: it always has.
    fn how_to_have_ids(&self) -> Option<&'static str> {
        None
    }

    /// Writes down what a plan depends on. Take the settings apart field by field, so that a new
    /// one does not compile until someone has decided whether a plan depends on it.
    fn encode(&self, to: &mut Encoder);

    /// The secret that it signs in with.
    fn secret(&self) -> Option<&SecretRef> {
        None
    }

    /// The file with the private key that it shows itself by.
    fn key_file(&self) -> Option<&Path> {
        None
    }

    /// What others on the network could read or change, of the source called `name`.
    fn exposure(&self, name: &str) -> Option<Diagnostic> {
        let _ = name;
        None
    }

    /// Whether such a source issues tokens.
    fn issues_tokens(&self) -> bool {
        false
    }

    /// Whether it issues tokens as `issuer`.
    fn issues(&self, issuer: &str) -> bool {
        let _ = issuer;
        false
    }

    /// The clients whose roles count.
    fn clients(&self) -> &[String] {
        &[]
    }

    /// What the names in the claim `claim` (a path with dots) of a token with this source's ids are.
    fn claimed<'c>(&self, claim: &'c str) -> ClaimedNames<'c>;

    /// Why whom a token calls `username` is nobody that a full read would bring.
    fn not_a_person(&self, username: &str) -> Option<&'static str> {
        let _ = username;
        None
    }

    /// The same with settings that suit look-ups of one person: `at_once` of them share its
    /// connections, and none takes longer than `within`.
    fn for_lookups(&self, at_once: usize, within: Duration) -> Arc<dyn KindSettings>;
}

impl dyn KindSettings {
    /// These settings as those of one kind; nothing where they are another's.
    #[must_use]
    pub fn of<T: KindSettings>(&self) -> Option<&T> {
        let any: &dyn Any = self;
        any.downcast_ref()
    }

    /// Whether it is the built-in source.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.of::<LocalSettings>().is_some()
    }
}

/// What the names in a token's claim are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimedNames<'c> {
    /// Roles of the realm.
    RealmRoles,
    /// Roles of this client.
    ClientRoles(&'c str),
    /// Groups or roles: each counts where it can mean one thing only.
    Anything,
}

/// The built-in source: its mirror in the store is all there is of it, changed by commands and by
/// `[default_admin]` alone. No table of the file is of its kind.
#[derive(Debug)]
pub struct LocalSettings;

impl KindSettings for LocalSettings {
    fn word(&self) -> &'static str {
        local::NAME
    }

    fn names(&self) -> Names {
        Names::Exact
    }

    fn without_ids(&self) -> bool {
        false
    }

    fn encode(&self, to: &mut Encoder) {
        to.text(local::NAME);
    }

    fn claimed<'c>(&self, _: &'c str) -> ClaimedNames<'c> {
        ClaimedNames::Anything
    }

    fn for_lookups(&self, _: usize, _: Duration) -> Arc<dyn KindSettings> {
        Arc::new(LocalSettings)
    }
}
