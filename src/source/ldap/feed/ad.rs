//! Following Active Directory.
//!
//! ```text
//! highestCommittedUSN ─► moved? ─► who has changed since ─► ids ─► work (each is read again) ─► Delta
//!      (twice a second)               (uSNChanged)                                            + cookie
//! ```
//!
//! Every change of an entry raises its `uSNChanged`, deletions too where this identity may see what is
//! deleted. What is told is which entries those are; each is read again as a full read would ([`work`]).
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
mod follower;
mod look;
mod work;

use std::sync::Arc;

use tokio::sync::watch;

use self::cookie::Cookie;
use self::dc::Dc;
use self::follower::{Follower, Place};
use self::work::Known;
use super::ask::Asker;
use super::{Followed, Origin, Stop, from_now};
use crate::directory::{Cursor, Interest};
use crate::model::FollowMode;
use crate::source::SourceError;
use crate::source::feed::{FollowState, Mark, MirrorView, NotFollowed, Start};
use crate::source::ldap::connect::Connection;
use crate::source::ldap::dialect::Dialect;
use crate::source::ldap::{LdapSource, known};

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
        Ok((Cookie::of(&dc, dc.usn), dc))
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
        cookie.goes_on_at(&dc)?;
        cookie.is_young(chrono::Utc::now().timestamp())?;
        let mut ask = Asker { origin: &origin, ldap: connection.ldap.clone() };
        for unread in work::OTHER_LISTS {
            if ask.some_group_has(unread).await? {
                return Err(Stop::Not(work::other_list(unread)));
            }
        }
        let known = Known::ask(&origin, &connection, &dc).await?;
        Ok((dc, key, cookie, known))
    };
    let (dc, key, cookie, known) = match begun.await {
        Ok(begun) => begun,
        Err(Stop::Read(why)) => return Ok(Start::Read(why)),
        Err(Stop::Not(why)) => return Ok(Start::Not(why)),
        Err(Stop::Fault(fault)) if fault.transient => return Err(origin.at(&connection, fault)),
        Err(Stop::Fault(fault)) => return Ok(Start::Not(NotFollowed::Refused(fault.message))),
    };
    let types = known::attribute_types(&connection, origin.limits()).await;
    let attributes = std::mem::take(&mut origin.user_attributes);
    // After the key was made: a cookie outlives a change of the schema.
    origin.user_attributes = known::asked(attributes, types.as_ref());
    let (states, state) = watch::channel(FollowState::new(FollowMode::Poll, chrono::Utc::now()));
    let at = Place { key, url: connection.url.clone(), cursor, cookie };
    let follower = Follower::new(origin, mirror, known, at, states);
    let run = |asked, told| follower.run((connection, dc), asked, told);
    Ok(Start::Here(Box::new(Followed::new(&source.name, state, run))))
}
