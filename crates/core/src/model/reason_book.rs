//! Why grants of identity providers exist: each reason and each set of reasons once, however many
//! grants have it.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::{ExternalRef, Inconsistent, IndexVec, Reason, ReasonIdx, SetIdx, TooMany};

/// Reasons and sets of them, each held once.
#[derive(Clone, Debug, Default)]
pub struct ReasonBook {
    reasons: IndexVec<ReasonIdx, Reason>,
    /// The reasons' places, by what people read of them.
    places: HashTable<ReasonIdx>,
    hasher: DefaultHashBuilder,
    renewed: Vec<(ReasonIdx, Reason)>,
    sets: IndexVec<SetIdx, Box<[ReasonIdx]>>,
    by_set: HashMap<Box<[ReasonIdx]>, SetIdx>,
}

/// Without what only finds things in it.
#[derive(serde::Serialize, serde::Deserialize)]
struct PlainReasonBook<'a> {
    reasons: Cow<'a, [Reason]>,
    sets: Cow<'a, [Box<[ReasonIdx]>]>,
}

impl serde::Serialize for ReasonBook {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PlainReasonBook { reasons: Cow::Borrowed(&self.reasons), sets: Cow::Borrowed(&self.sets) }
            .serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for ReasonBook {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let PlainReasonBook { reasons, sets } = PlainReasonBook::deserialize(deserializer)?;
        let mut book = ReasonBook::default();
        for reason in reasons.into_owned() {
            book.reason(reason).map_err(serde::de::Error::custom)?;
        }
        for set in sets.into_owned() {
            book.set(&set).map_err(serde::de::Error::custom)?;
        }
        Ok(book)
    }
}

impl ReasonBook {
    /// The number of `reason`, added where it is new.
    ///
    /// # Errors
    /// It is new, and there is no number left for it.
    pub fn reason(&mut self, reason: Reason) -> Result<ReasonIdx, TooMany> {
        let hash = self.hash(&reason);
        let known = self.find(hash, |other| *other == reason);
        known.map_or_else(|| self.add(hash, reason), Ok)
    }

    /// The number of `reason`, which a source gives now; `is_there` says which things it has.
    ///
    /// One that reads the same and leads through what is not there any more, or of which an older
    /// store kept no ids, is that one and gets its ids: a group that was made anew under its path,
    /// and an update of this program, are nothing that anybody would read in the history.
    ///
    /// # Errors
    /// It is new, and there is no number left for it.
    pub fn current(
        &mut self,
        reason: Reason,
        is_there: impl Fn(&ExternalRef) -> bool,
    ) -> Result<ReasonIdx, TooMany> {
        let hash = self.hash(&reason);
        if let Some(known) = self.find(hash, |other| *other == reason) {
            return Ok(known);
        }
        let outdated =
            |other: &Reason| other.reads_as(&reason) && !other.path.iter().all(&is_there);
        let Some(place) = self.find(hash, outdated) else { return self.add(hash, reason) };
        let before = std::mem::replace(self.reasons.at_mut(place), reason);
        self.renewed.push((place, before));
        Ok(place)
    }

    /// Reasons that have got other ids, by number, as they were: they are to be stored anew.
    #[must_use]
    pub fn renewed(&self) -> &[(ReasonIdx, Reason)] {
        &self.renewed
    }

    /// Gives the reason `before` the ids of `now`, which reads the same.
    pub fn renew(&mut self, before: &Reason, now: &Reason) {
        let place = self.find(self.hash(before), |other| other == before);
        if let Some(place) = place {
            self.reasons.at_mut(place).clone_from(now);
        }
    }

    fn hash(&self, reason: &Reason) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        reason.hash_words(&mut hasher);
        hasher.finish()
    }

    fn find(&self, hash: u64, wanted: impl Fn(&Reason) -> bool) -> Option<ReasonIdx> {
        let at = |place: &ReasonIdx| wanted(self.reasons.at(*place));
        self.places.find(hash, at).copied()
    }

    fn add(&mut self, hash: u64, reason: Reason) -> Result<ReasonIdx, TooMany> {
        let place = self.reasons.push(reason)?;
        let ReasonBook { reasons, places, hasher, .. } = self;
        places.insert_unique(hash, place, |place| {
            let mut hasher = hasher.build_hasher();
            reasons.at(*place).hash_words(&mut hasher);
            hasher.finish()
        });
        Ok(place)
    }

    /// The number of the set of `reasons`, added where it is new. Order and repeats do not matter.
    ///
    /// # Errors
    /// It is new, and there is no number left for it; or one of `reasons` is no reason of this book.
    pub fn set(&mut self, reasons: &[ReasonIdx]) -> Result<SetIdx, Inconsistent> {
        if let Some(index) = self.by_set.get(reasons) {
            return Ok(*index);
        }
        if let Some(strange) = reasons.iter().find(|it| self.reasons.get(**it).is_none()) {
            return Err(Inconsistent::NoSuchReason(*strange));
        }
        let mut sorted = reasons.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let sorted: Box<[ReasonIdx]> = sorted.into();
        if let Some(index) = self.by_set.get(&sorted) {
            return Ok(*index);
        }
        let index = self.sets.push(sorted.clone())?;
        self.by_set.insert(sorted, index);
        Ok(index)
    }

    /// The reasons of a set, in the order in which they were first seen.
    ///
    /// # Errors
    /// This book has no such set.
    pub fn of_set(&self, set: SetIdx) -> Result<impl Iterator<Item = &Reason>, Inconsistent> {
        Ok(self.numbered_of(set)?.map(|(_, reason)| reason))
    }

    /// The same with their numbers.
    ///
    /// # Errors
    /// This book has no such set.
    pub fn numbered_of(
        &self,
        set: SetIdx,
    ) -> Result<impl Iterator<Item = (ReasonIdx, &Reason)>, Inconsistent> {
        let members = self.sets.get(set).ok_or(Inconsistent::NoSuchReasons(set))?;
        // What `set` has taken in is in this book for good.
        Ok(members.iter().map(|index| (*index, self.reasons.at(*index))))
    }

    /// All sets, by number, as numbers of reasons.
    #[must_use]
    pub fn sets(&self) -> &IndexVec<SetIdx, Box<[ReasonIdx]>> {
        &self.sets
    }

    /// All reasons, by number.
    #[must_use]
    pub fn reasons(&self) -> &IndexVec<ReasonIdx, Reason> {
        &self.reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn through(ids: &[Option<&str>]) -> Reason {
        let step = |id: &Option<&str>| ExternalRef {
            id: id.map(str::to_owned),
            ..ExternalRef::new(Kind::Group, "", "/a")
        };
        Reason {
            source: "kc".to_owned(),
            rule: "mapping[1]".to_owned(),
            path: ids.iter().map(step).collect(),
        }
    }

    #[test]
    fn a_reason_that_reads_the_same_gets_the_ids_of_what_is_there_and_no_second_number() {
        let mut book = ReasonBook::default();
        let (old, one, two) = (through(&[None]), through(&[Some("1")]), through(&[Some("2")]));
        let there = |ids: &'static [&'static str]| {
            move |step: &ExternalRef| step.id.as_deref().is_some_and(|id| ids.contains(&id))
        };
        let number = ReasonIdx::new;
        assert_eq!(book.reason(old.clone()), Ok(number(0)));
        assert_eq!(
            book.current(one.clone(), there(&["1", "2"])),
            Ok(number(0)),
            "an older store's"
        );
        assert_eq!(
            book.current(two.clone(), there(&["1", "2"])),
            Ok(number(1)),
            "two things of one name"
        );
        assert_eq!(book.current(one.clone(), there(&["1", "2"])), Ok(number(0)));
        assert_eq!(book.reasons()[..], [one.clone(), two.clone()]);
        let three = through(&[Some("3")]);
        assert_eq!(
            book.current(three.clone(), there(&["2", "3"])),
            Ok(number(0)),
            "1 was made anew as 3"
        );
        assert_eq!(book.renewed(), [(number(0), old.clone()), (number(0), one)]);
        assert_eq!(
            book.reason(old.clone()),
            Ok(number(2)),
            "what is added as it is stays as it is"
        );
        assert_eq!(book.reason(three), Ok(number(0)));
        let mut longer = through(&[Some("4"), Some("2")]);
        assert_eq!(book.current(longer.clone(), there(&[])), Ok(number(3)), "another way");
        longer.rule = "mapping[2]".to_owned();
        assert_eq!(book.current(longer, there(&[])), Ok(number(4)), "another rule");
    }
    #[test]
    fn a_set_of_reasons_that_are_nowhere_is_an_error_that_says_so() {
        let mut book = ReasonBook::default();
        let strange = ReasonIdx::new(7);
        assert_eq!(book.set(&[strange]), Err(Inconsistent::NoSuchReason(strange)));
        let none = book.set(&[]).unwrap();
        assert_eq!(book.of_set(none).unwrap().count(), 0);
        let strange = book.of_set(SetIdx::new(1)).map(Iterator::count).unwrap_err();
        assert_eq!(
            strange.to_string(),
            "set of reasons number 1 is spoken of, and the state has no such set"
        );
    }
}
