//! What is written: all of it or nothing.

use super::{ScopeStatus, StoredMirror};
use crate::directory::{Cursor, Directory, DirectoryDigest};
use crate::model::Time;
use crate::plan::Plan;

/// What is to be written, all of it or nothing.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The changes, and the state that they lead to. Its held plan takes the place of the stored
    /// one, or removes it.
    pub plan: &'a Plan,
    /// [`super::Meta::version`] of the state that the plan was made from.
    pub base_version: i64,
    /// What the sources said in this run: those that were tried.
    pub sources: &'a [SourceUpdate<'a>],
    /// The names of all configured sources. Others are dropped with their mirrors by a run (a
    /// commit with `settled`), once nothing is held any more: a source that left by mistake and
    /// comes back still has its mirror.
    pub configured: &'a [String],
    /// What [`super::Meta::settled`] is to be.
    pub settled: Option<String>,
}

/// How a read of a source went.
#[derive(Debug)]
pub struct SourceUpdate<'a> {
    /// Its name.
    pub source: &'a str,
    /// `keycloak`, `ldap` or `file`.
    pub kind: &'a str,
    /// When it was read.
    pub tried_at: Time,
    /// Every scope that was asked for is complete: `tried_at` is the new time of the last
    /// complete read.
    pub complete: bool,
    /// Why nothing at all was read. The scopes stay then.
    pub error: Option<String>,
    /// What was read, scope by scope.
    pub scopes: Vec<ScopeStatus>,
    /// From where the source's feed goes on after what was read. Where nothing was read the stored
    /// one stays.
    pub cursor: Option<&'a Cursor>,
    /// The mirror's new content; absent: it stays as it is. [`Writer::touch`] leaves it out.
    pub mirror: Option<MirrorUpdate<'a>>,
}

/// A mirror's new content.
#[derive(Debug)]
pub struct MirrorUpdate<'a> {
    /// The mirror as it was loaded for this run; absent where there was none.
    pub old: Option<&'a StoredMirror>,
    /// The facts now.
    pub directory: &'a Directory,
    /// [`Directory::digests`] of them under the store's key.
    pub digest: &'a DirectoryDigest,
}

/// What a commit did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The new generation; absent where no user, grant, role set, policy or decision changed.
    pub generation: Option<u64>,
    /// [`super::Meta::version`] now.
    pub version: i64,
}
