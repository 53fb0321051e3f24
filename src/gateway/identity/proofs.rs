//! Which proofs of possession were here: each counts once (RFC 9449, section 11.1).
//!
//! Nothing is forgotten that could come again, so what is remembered needs a bound, and whoever has a token
//! that is bound to a key can make proofs without end. Each key may have as many as are left for all the
//! others: the more one has, the sooner it waits, and who sends a few a minute finds room beside any
//! number of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::claims::LEEWAY;

/// The most proofs that are remembered. An entry takes 16 bytes and as much again in its table; a key with
/// any takes 16 more, and as much again.
const MOST: usize = 1_000_000;

/// Why a proof that is good in itself does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotTaken {
    /// It was here before.
    #[error("it was used before (`jti`)")]
    Replayed,
    /// It may have been here before: others of its time are forgotten.
    #[error(
        "it was made (`iat`) when proofs were remembered for a shorter time, and whether it was used \
         before is not known any more"
    )]
    Forgotten,
    /// It could not be remembered.
    #[error(
        "as many proofs of its key are remembered as there is room for: it is to be tried again in a \
         few minutes"
    )]
    Full,
}

/// A proof that is good in itself.
#[derive(Clone, Copy)]
pub(super) struct Taken<'a> {
    /// The thumbprint of its key.
    pub jkt: &'a str,
    /// Its id, among those of its key.
    pub jti: &'a str,
    /// When it was made, in seconds since 1970: at most [`LEEWAY`] from now.
    pub iat: i64,
    /// In seconds since 1970.
    pub now: i64,
    /// For how many seconds from now on it could come again, at most.
    pub span: i64,
}

/// What a proof is remembered by: a digest of its key and its `jti`.
type ProofId = [u8; 16];

/// What a key is counted by: a digest. Two that are alike share.
type KeyId = u64;

/// Which proofs were here, for as long as they could come again. Outlives a reload.
pub struct ProofMemory {
    most: usize,
    remembered: Mutex<Remembered>,
}

impl Default for ProofMemory {
    fn default() -> Self {
        ProofMemory::of(MOST)
    }
}

/// Proofs of two spans of time, each as long as a proof can come again: whoever is in neither was not here
/// for that long.
#[derive(Default)]
struct Remembered {
    current: HashSet<ProofId>,
    previous: HashSet<ProofId>,
    /// When the current span began, in seconds since 1970: all of the previous came before.
    since: i64,
    /// When a proof was taken last.
    last: i64,
    /// When the last of the previous span was taken.
    parted: i64,
    /// Of what was taken until then something is forgotten; absent: nothing is.
    forgotten: Option<i64>,
    /// How many of the proofs are of each key.
    keys: HashMap<KeyId, Held>,
}

/// How many proofs of one key are remembered, of the current span and of the previous.
#[derive(Clone, Copy, Default)]
struct Held {
    current: u32,
    previous: u32,
}

impl ProofMemory {
    fn of(most: usize) -> ProofMemory {
        ProofMemory { most, remembered: Mutex::default() }
    }

    /// Remembers a proof.
    ///
    /// # Errors
    /// It was here before, or may have been, or cannot be remembered.
    pub(super) fn take(&self, proof: &Taken<'_>) -> Result<(), NotTaken> {
        let (key, id) = ids(proof);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let this = &mut *remembered;
        this.forget(proof.now, proof.span);
        if this.current.contains(&id) || this.previous.contains(&id) {
            return Err(NotTaken::Replayed);
        }
        // One that is as old as what is forgotten may have come with it. Under the same configuration its `iat`
        // has refused it before; a longer `max_age`, or a clock that was set, would let it through.
        if this.forgotten.is_some_and(|until| proof.iat <= until.saturating_add(LEEWAY)) {
            return Err(NotTaken::Forgotten);
        }
        // To forget one in its place would let that come again.
        let free = self.most.saturating_sub(this.len());
        let held = this.keys.get(&key).copied().unwrap_or_default();
        if held.all() >= free {
            return Err(NotTaken::Full);
        }
        this.current.insert(id);
        let current = held.current.saturating_add(1);
        this.keys.insert(key, Held { current, ..held });
        this.last = this.last.max(proof.now);
        Ok(())
    }
}

impl Remembered {
    fn len(&self) -> usize {
        self.current.len().saturating_add(self.previous.len())
    }

    /// Forgets what can come no more at `now`, where a proof is good for `span` seconds.
    fn forget(&mut self, now: i64, span: i64) {
        // A clock that was set back: what was forgotten before is of no time that it will soon reach again, and
        // of what it will reach nothing is known until then.
        if now < self.last.saturating_sub(LEEWAY) {
            for time in [&mut self.since, &mut self.last, &mut self.parted] {
                *time = now.min(*time);
            }
            self.forgotten = self.forgotten.map(|until| until.min(now));
        }
        if now.saturating_sub(self.since) >= span {
            self.drop_previous();
            self.previous = std::mem::take(&mut self.current);
            for held in self.keys.values_mut() {
                *held = Held { current: 0, previous: held.current };
            }
            (self.since, self.parted) = (now, self.last);
        }
        if now.saturating_sub(self.parted) >= span {
            self.drop_previous();
        }
    }

    fn drop_previous(&mut self) {
        if self.previous.is_empty() {
            return;
        }
        self.previous = HashSet::new();
        self.forgotten = self.forgotten.max(Some(self.parted));
        self.keys.retain(|_, held| {
            held.previous = 0;
            held.current > 0
        });
    }
}

impl Held {
    fn all(self) -> usize {
        let all = self.current.saturating_add(self.previous);
        usize::try_from(all).unwrap_or(usize::MAX)
    }
}

fn ids(proof: &Taken<'_>) -> (KeyId, ProofId) {
    let mut digest = Sha256::new();
    digest.update(proof.jkt);
    let key = first(&digest.clone().finalize());
    // No thumbprint holds that.
    digest.update([0]);
    digest.update(proof.jti);
    (KeyId::from_le_bytes(key), first(&digest.finalize()))
}

/// The first bytes of a digest.
fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proof that was made as it is sent, which is good for a minute.
    fn proof(jti: &str, now: i64) -> Taken<'_> {
        Taken { jkt: "ann", jti, iat: now, now, span: 121 }
    }

    #[test]
    fn a_proof_is_remembered_for_as_long_as_it_could_come_again_and_not_for_ever() {
        let memory = ProofMemory::of(10);
        for (jti, begin) in [("a", 1_000), ("b", 1_120), ("c", 1_242)] {
            let taken = proof(jti, begin);
            assert_eq!(memory.take(&taken), Ok(()));
            for later in [0, 1, 60, 120] {
                let again = Taken { now: begin + later, ..taken };
                assert_eq!(memory.take(&again), Err(NotTaken::Replayed), "{jti} {later}");
            }
        }
        assert_eq!(memory.take(&proof("a", 5_000)), Ok(()));
        let remembered = memory.remembered.lock().unwrap();
        assert_eq!((remembered.len(), remembered.keys.len()), (1, 1));
    }

    #[test]
    fn what_was_forgotten_does_not_count_again_however_long_a_proof_is_good_afterwards() {
        let memory = ProofMemory::of(10);
        let old = proof("a", 1_000);
        assert_eq!(memory.take(&old), Ok(()));
        assert_eq!(memory.take(&proof("b", 1_130)), Ok(()));
        assert_eq!(memory.take(&proof("c", 1_240)), Ok(()));
        // A reload that raises `max_age` to ten minutes.
        let longer = |jti, iat| Taken { jkt: "ann", jti, iat, now: 1_300, span: 661 };
        assert_eq!(memory.take(&longer("a", 1_000)), Err(NotTaken::Forgotten));
        // Nobody can tell it from one that was here, and was made for later.
        assert_eq!(memory.take(&longer("new", 1_030)), Err(NotTaken::Forgotten));
        assert_eq!(memory.take(&longer("new", 1_031)), Ok(()));
        assert_eq!(memory.take(&longer("b", 1_130)), Err(NotTaken::Replayed));
        assert_eq!(memory.take(&longer("c", 1_240)), Err(NotTaken::Replayed));
    }

    #[test]
    fn a_proof_of_a_moment_ago_is_remembered_though_a_reload_makes_proofs_shorter() {
        let memory = ProofMemory::of(10);
        let longer = |jti, now| Taken { jkt: "ann", jti, iat: now, now, span: 661 };
        assert_eq!(memory.take(&longer("a", 1_000)), Ok(()));
        assert_eq!(memory.take(&longer("b", 1_600)), Ok(()));
        let again = Taken { now: 1_650, span: 121, ..longer("b", 1_600) };
        assert_eq!(memory.take(&again), Err(NotTaken::Replayed));
        // As long as it could come again, and no longer.
        let again = Taken { now: 1_720, ..again };
        assert_eq!(memory.take(&again), Err(NotTaken::Replayed));
        assert_eq!(memory.take(&proof("c", 1_721)), Ok(()));
        assert_eq!(memory.remembered.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_lets_nothing_come_again() {
        let memory = ProofMemory::of(10);
        assert_eq!(memory.take(&proof("a", 1_000)), Ok(()));
        for wrong in [9_000, 9_500] {
            assert_eq!(memory.take(&proof("b", wrong)), Ok(()));
        }
        let again = Taken { now: 1_010, ..proof("a", 1_000) };
        assert_eq!(memory.take(&again), Err(NotTaken::Forgotten));
        // It is not waited for the time that it was set to.
        assert_eq!(memory.take(&proof("c", 1_041)), Ok(()));
    }

    /// How many proofs of `jkt` are taken at once, at most `tries`.
    fn fill(memory: &ProofMemory, jkt: &str, now: i64, tries: usize) -> usize {
        let id = |number: usize| format!("{now} {number}");
        let taken = |jti: &String| memory.take(&Taken { jkt, ..proof(jti, now) }).is_ok();
        (0..tries).map(id).filter(taken).count()
    }

    #[test]
    fn one_key_does_not_take_the_room_of_all_and_nothing_is_forgotten_for_it() {
        let memory = ProofMemory::of(1_000);
        assert_eq!(fill(&memory, "mallory", 1_000, 5_000), 500);
        let more = Taken { jkt: "mallory", ..proof("more", 1_000) };
        assert_eq!(memory.take(&more), Err(NotTaken::Full));
        for name in ["ann", "bob", "cy"] {
            assert_eq!(fill(&memory, name, 1_001, 50), 50, "{name}");
        }
        // However many greedy ones there are, whoever comes next finds room.
        for number in 0..8 {
            fill(&memory, &format!("mallory{number}"), 1_002, 5_000);
        }
        assert_eq!(fill(&memory, "newcomer", 1_003, 1), 1);
        assert!(memory.remembered.lock().unwrap().len() <= 1_000);
        // What was there is there.
        let again = Taken { jkt: "mallory", ..proof("1000 3", 1_000) };
        let again = Taken { now: 1_050, ..again };
        assert_eq!(memory.take(&again), Err(NotTaken::Replayed));
        // Whoever was greedy waits until its own are too old.
        assert_eq!(fill(&memory, "mallory", 1_120, 1), 0);
        assert_eq!(fill(&memory, "mallory", 1_400, 1), 1);
    }

    #[test]
    fn keys_without_end_are_bounded_as_well() {
        let memory = ProofMemory::of(100);
        let taken = (0..1_000).filter(|key| fill(&memory, &format!("key {key}"), 1_000, 1) == 1);
        assert_eq!(taken.count(), 100);
        assert_eq!(memory.take(&proof("a", 1_001)), Err(NotTaken::Full));
        assert_eq!(memory.take(&proof("a", 1_300)), Ok(()));
        let remembered = memory.remembered.lock().unwrap();
        assert_eq!((remembered.len(), remembered.keys.len()), (1, 1));
    }
}
