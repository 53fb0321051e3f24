//! The list of ended sessions.

use std::collections::BTreeMap;

use crate::model::{SessionEnd, SessionRealm, SessionScope};
use crate::store::EndedSince;

/// What has ended: until when, and at which place of the list.
#[derive(Clone, Debug, Default)]
pub struct EndedList {
    ended: BTreeMap<(SessionRealm, SessionScope), (i64, u64)>,
    last: u64,
}

impl EndedList {
    pub fn keep(&mut self, ended: &[SessionEnd], forget: i64) {
        for SessionEnd { realm, scope, last_iat } in ended {
            let key = (realm.clone(), scope.clone());
            if self.ended.get(&key).is_none_or(|(before, _)| before < last_iat) {
                self.last += 1;
                self.ended.insert(key, (*last_iat, self.last));
            }
        }
        self.ended.retain(|_, (last_iat, _)| *last_iat >= forget);
    }

    pub fn since(&self, place: u64) -> EndedSince {
        let behind = self.ended.iter().filter(|(_, (_, num))| *num > place);
        let mut behind: Vec<_> =
            behind.map(|(key, (last_iat, num))| (num, key, last_iat)).collect();
        behind.sort();
        let place = behind.last().map_or(place, |(num, ..)| **num);
        let end = |(_, (realm, scope), last_iat): (&u64, &(SessionRealm, SessionScope), &i64)| {
            SessionEnd { realm: realm.clone(), scope: scope.clone(), last_iat: *last_iat }
        };
        EndedSince { ended: behind.into_iter().map(end).collect(), place }
    }

    pub fn len(&self) -> u64 {
        self.ended.len() as u64
    }
}
