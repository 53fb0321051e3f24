//! Following Active Directory.
//!
//! ```text
//! highestCommittedUSN ─► moved? ─► who has changed since ─► ids ─► work (each is read again) ─► Delta
//!  (woken, or twice a second)       (DirSync, uSNChanged)                                     + cookie
//! ```
//!
//! Whoever may (`Replicating Directory Changes`) asks as a replica does and is told of deletions too
//! ([`dirsync`]). For others every change of an entry raises its `uSNChanged`, deletions as well where this
//! identity may see what is deleted ([`changes`]). What is told is which entries those are; each is read again as a full read would ([`work`]).
//! A number counts in one database of one domain controller, which `invocationId` names: it stands in
//! the cookie ([`cookie`]).
//!
//! What may take away: a tombstone, and an entry that is there under its id and that base or filter leave
//! out. Whoever may not see tombstones is told of changes and not of deletions: then all ids are looked
//! through now and then ([`look`]), and where one is missing a full read is asked for, which decides.
//!
//! Lists of members come with the members' ids, so a name counts nowhere, and the mirror's links go with
//! the id: a group is not told when one of its members is renamed or deleted.
//!
//! Held in memory: the names of containers, whose renaming is the renaming of all that is below them.

mod again;
mod changes;
mod cookie;
mod dc;
mod dirsync;
mod follower;
mod look;
mod wake;
mod work;

use std::sync::Arc;

use tokio::sync::watch;

use self::cookie::Cookie;
use self::dc::Dc;
use self::follower::{Follower, Place};
use self::work::Known;
use super::ask::Asker;
use super::cursor::{cookie_of, server_of};
use super::{Followed, Origin, Stop, from_now};
use crate::directory::{Cursor, Interest};
use crate::model::FollowMode;
use crate::source::SourceError;
use crate::source::feed::{FollowState, Mark, MirrorView, NotFollowed, Start, WhyFull};
use crate::source::ldap::connect::Connection;
use crate::source::ldap::dialect::Dialect;
use crate::source::ldap::{LdapSource, known};

/// What an ordinary account is not told, and what helps.
const UNTOLD: &str = "deletions are not told to this identity, so all ids are looked through now and then \
                      and whoever is missing leads to a full read: grant it `Replicating Directory Changes` \
                      on the domain, or to read `CN=Deleted Objects`";

/// What this identity is told has changed, so deletions may have passed by.
fn other_rights() -> WhyFull {
    WhyFull::Other("this identity is not told of deletions as it was before".to_owned())
}

/// What this identity lacks to be told of all changes, where that can be found out.
pub(super) async fn lacks(
    source: &LdapSource,
    interest: &dyn Interest,
    connection: &Connection,
) -> Option<&'static str> {
    let origin = Origin::new(source, interest, Dialect::ACTIVE_DIRECTORY).ok()?;
    let dc = Dc::ask(connection, origin.limits()).await.ok()?;
    let is_told = dirsync::begin(&origin, connection, &dc).await.ok()?.is_some()
        || changes::sees_deleted(&origin, connection, &dc).await.ok()?;
    (!is_told).then_some(UNTOLD)
}

/// Where the feed stands now. A full read that follows goes over the same connection: of two domain
/// controllers behind one name the other may not know yet what this one has told.
pub(super) async fn mark(
    source: &LdapSource,
    interest: &dyn Interest,
    connection: Connection,
) -> Result<Mark, SourceError> {
    let origin = Origin::new(source, interest, Dialect::ACTIVE_DIRECTORY)?;
    let marked = async {
        let dc = Dc::ask(&connection, from_now(&origin.config)).await?;
        dc.holds(&origin.shape)?;
        // After the number: what has changed in between is in the read that follows.
        let dirsync = dirsync::begin(&origin, &connection, &dc).await?;
        let sees_container = changes::sees_deleted(&origin, &connection, &dc).await?;
        Ok((Cookie::of(&dc, dc.usn, dirsync.as_deref(), sees_container), dc))
    };
    match marked.await {
        Ok((cookie, dc)) => {
            let cursor = origin.key(&connection, &dc.domain).cursor(&cookie.bytes());
            source.marked(connection);
            let none = || Mark::Not(NotFollowed::Refused("the cookie is no text".to_owned()));
            Ok(cursor.map_or_else(none, Mark::At))
        }
        Err(Stop::Not(why)) => Ok(Mark::Not(why)),
        Err(Stop::Read(why)) => Ok(Mark::Not(NotFollowed::Refused(why.to_string()))),
        Err(Stop::Fault(fault)) => Err(origin.at(&connection, fault)),
    }
}

/// How many connections to one name are tried for a certain domain controller behind it.
const TRIES: usize = 10;

/// The full read that follows goes to the domain controller that is followed, if it is one.
pub(super) async fn stays(source: &LdapSource, cursor: &Cursor) -> Result<bool, SourceError> {
    // Other servers have other cookies.
    let cookie = cookie_of(cursor).and_then(|cookie| Cookie::parse(&cookie).ok());
    let (Some(cookie), Some(server)) = (cookie, server_of(cursor)) else { return Ok(false) };
    let at = |error: SourceError| SourceError {
        message: format!("source `{}`: {}", source.name, error.message),
        ..error
    };
    for _ in 0..TRIES {
        let connection = source.connector.connect_rather_to(&server).await;
        let connection = connection.map_err(at)?;
        match Dc::ask(&connection, from_now(&source.config)).await {
            Ok(dc) if dc.database == cookie.database => {
                source.marked(connection);
                return Ok(true);
            }
            Ok(_) => {}
            Err(Stop::Fault(fault)) => return Err(at(fault.into())),
            // It shows less than it did, so nobody knows which one it is.
            Err(Stop::Read(_) | Stop::Not(_)) => {
                let why = "the server does not show any more which domain controller it is, so a read could \
                           be of another one than is followed";
                return Err(at(SourceError::transient(why)));
            }
        }
    }
    let why = "other domain controllers answer than the one that is followed, and may lag behind it: \
               name it in `url`";
    Err(at(SourceError::transient(why)))
}

/// Goes on from `cursor`.
pub(super) async fn follow<'a>(
    source: &LdapSource,
    interest: &dyn Interest,
    connection: Connection,
    cursor: Cursor,
    mirror: Arc<dyn MirrorView>,
) -> Result<Start<'a>, SourceError> {
    let mut origin = Origin::new(source, interest, Dialect::ACTIVE_DIRECTORY)?;
    let begun = async {
        let dc = Dc::ask(&connection, from_now(&origin.config)).await?;
        dc.holds(&origin.shape)?;
        let key = origin.key(&connection, &dc.domain);
        let cookie = Cookie::parse(&key.cookie(&cursor)?)?;
        cookie.goes_on_at(&dc, chrono::Utc::now().timestamp())?;
        let types = known::attribute_types(&connection, origin.limits()).await;
        let may_ask = dirsync::begin(&origin, &connection, &dc).await?.is_some();
        if may_ask != cookie.dirsync()?.is_some() {
            return Err(Stop::Read(other_rights()));
        }
        let attributes = may_ask.then(|| dirsync::attributes(&origin, types.as_ref()));
        if origin.values.iter().any(|value| work::filters_by_groups(value)) {
            let why =
                "a rule names `memberOf`, and nobody is told when that changes: name the group";
            return Err(Stop::Not(NotFollowed::Refused(why.to_owned())));
        }
        let mut ask = Asker { origin: &origin, ldap: connection.ldap.clone() };
        for unread in work::OTHER_LISTS {
            if ask.some_group_has(unread).await? {
                return Err(Stop::Not(work::other_list(unread)));
            }
        }
        let known = Known::ask(&origin, &connection, &dc, attributes).await?;
        if known.sees_container != cookie.sees_container {
            return Err(Stop::Read(other_rights()));
        }
        Ok((dc, key, cookie, known, types))
    };
    let (dc, key, cookie, known, types) = match begun.await {
        Ok(begun) => begun,
        Err(Stop::Read(why)) => return Ok(Start::Read(why)),
        Err(Stop::Not(why)) => return Ok(Start::Not(why)),
        Err(Stop::Fault(fault)) if fault.transient => return Err(origin.at(&connection, fault)),
        Err(Stop::Fault(fault)) => return Ok(Start::Not(NotFollowed::Refused(fault.message))),
    };
    let attributes = std::mem::take(&mut origin.user_attributes);
    // After the key was made: a cookie outlives a change of the schema.
    origin.user_attributes = known::asked(attributes, types.as_ref());
    let (states, state) = watch::channel(FollowState::new(FollowMode::Poll, chrono::Utc::now()));
    let at = Place { key, url: connection.url.clone(), cursor, cookie };
    let follower = Follower::new(origin, mirror, known, at, states);
    let run = |asked, told| follower.run((connection, dc), asked, told);
    Ok(Start::Here(Box::new(Followed::new(&source.name, state, run))))
}
