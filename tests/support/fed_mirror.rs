//! A mirror in memory that is fed, as its feed asks about it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use idpsyncd::directory::{DirUserIdx, Directory, Mirror, OwnDomain, RefId};
use idpsyncd::model::index::Place as _;
use idpsyncd::source::feed::{MirrorView, NoAnswer};

/// The mirror, as the feed asks it. The question of this number from now on gets no answer; 0: each gets one.
#[derive(Clone, Default)]
pub struct FedMirror(pub Arc<Mutex<Mirror>>, pub Arc<AtomicUsize>);

impl FedMirror {
    fn with<T>(&self, ask: impl FnOnce(&Directory) -> T) -> Result<T, NoAnswer> {
        let next = |left: usize| left.checked_sub(1);
        if self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(1) {
            return Err(NoAnswer::NoStore);
        }
        Ok(ask(&self.0.lock().unwrap().directory))
    }
}

/// What a reference is known by.
pub fn id_of(directory: &Directory, place: usize) -> RefId {
    let row = &directory.refs[place];
    RefId { kind: row.kind, key: directory.text(row.key).to_owned() }
}

fn place_of(directory: &Directory, id: &RefId) -> Option<usize> {
    (0..directory.refs.len()).find(|place| id_of(directory, *place) == *id)
}

impl MirrorView for FedMirror {
    fn has_person(&self, ext: &str) -> Result<bool, NoAnswer> {
        self.with(|it| it.users.iter().any(|user| it.text(user.ext) == ext))
    }

    fn own_domain(&self) -> Result<OwnDomain<String>, NoAnswer> {
        self.with(|it| it.own_domain().map(str::to_owned))
    }

    fn has_ref(&self, id: &RefId) -> Result<bool, NoAnswer> {
        self.with(|it| place_of(it, id).is_some())
    }

    fn knows_members(&self, id: &RefId) -> Result<bool, NoAnswer> {
        self.with(|it| place_of(it, id).is_some_and(|place| it.refs[place].known))
    }

    fn within(&self, ext: &str) -> Result<Vec<RefId>, NoAnswer> {
        self.with(|it| {
            let has = |members: &[DirUserIdx]| {
                members.iter().any(|user| it.text(it.users[user.place()].ext) == ext)
            };
            let those = (0..it.refs.len()).filter(|place| has(&it.members[*place]));
            those.map(|place| id_of(it, place)).collect()
        })
    }

    fn surely_in(&self, id: &RefId) -> Result<BTreeSet<String>, NoAnswer> {
        self.with(|it| {
            let members = place_of(it, id).into_iter().flat_map(|place| &it.members[place]);
            members.map(|user| it.text(it.users[user.place()].ext).to_owned()).collect()
        })
    }

    fn leads_to(&self, id: &RefId) -> Result<Vec<RefId>, NoAnswer> {
        self.with(|it| {
            let up = place_of(it, id).into_iter().flat_map(|place| &it.implies[place]);
            up.map(|place| id_of(it, place.place())).collect()
        })
    }

    fn leading_to(&self, id: &RefId) -> Result<Vec<RefId>, NoAnswer> {
        self.with(|it| {
            let Some(to) = place_of(it, id) else { return Vec::new() };
            let leads = |from: &usize| it.implies[*from].iter().any(|up| up.place() == to);
            (0..it.refs.len()).filter(leads).map(|place| id_of(it, place)).collect()
        })
    }

    fn everything(&self) -> Result<(Vec<String>, Vec<RefId>), NoAnswer> {
        self.with(|it| {
            let people = it.users.iter().map(|user| it.text(user.ext).to_owned()).collect();
            (people, (0..it.refs.len()).map(|place| id_of(it, place)).collect())
        })
    }
}
