//! Access tokens, by the digests of their secrets, small.
//!
//! Digests are as good as random, so the first bits of one tell where it stands among them all,
//! sorted. The few that begin alike are compared in whole and in constant time, all of them: how long
//! it takes says nothing of how much of a digest was right.

use hashbrown::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::gateway::question::TokenDigest;
use crate::model::{Text, Texts};
use crate::store::Contradiction;

/// An access token.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicaToken {
    /// What its owner is called, in the [`super::people::People`] of the same age.
    pub owner: Text,
    /// The place of its role set.
    pub set: u32,
    /// When it ends, in seconds since 1970.
    pub until: u32,
    /// What it is called, in [`ReplicaTokens::names`].
    name: Text,
}

/// Tokens, never changed once made.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplicaTokens {
    /// Sorted by digest.
    entries: Box<[(TokenDigest, ReplicaToken)]>,
    /// By the first bits of a digest where those that begin so start; one more than there are.
    starts: Box<[u32]>,
    /// How many bits that are.
    bits: u32,
    names: Texts,
}

/// Tokens that are being gathered.
#[derive(Default)]
pub(super) struct Draft {
    entries: Vec<(TokenDigest, ReplicaToken)>,
    names: Texts,
    /// Names that came before: many tokens have one, such as `ci`.
    seen: HashMap<Box<str>, Text>,
}

/// So many names are looked for among those that came before.
const SEEN: usize = 65_536;

/// So many tokens or fewer begin with the same bits.
const ALIKE: usize = 4;

impl Draft {
    /// With room for so many.
    pub(super) fn with_capacity(count: usize) -> Draft {
        Draft { entries: Vec::with_capacity(count), ..Draft::default() }
    }

    /// Adds a token. `until` is in seconds since 1970; one that a count of 32 bits does not reach is
    /// as far off as it can tell, which is the year 2106.
    ///
    /// # Errors
    /// There is no room left for its name.
    pub(super) fn add(
        &mut self,
        digest: TokenDigest,
        owner: Text,
        set: u32,
        until: i64,
        name: &str,
    ) -> Result<(), Contradiction> {
        let until = u32::try_from(until.max(0)).unwrap_or(u32::MAX);
        let name = self.name(name)?;
        self.entries.push((digest, ReplicaToken { owner, set, until, name }));
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<Text, Contradiction> {
        if let Some(place) = self.seen.get(name) {
            return Ok(*place);
        }
        let place = self.names.add(name).map_err(|_| Contradiction::TokenNames)?;
        if self.seen.len() < SEEN {
            self.seen.insert(name.into(), place);
        }
        Ok(place)
    }

    /// Sorts them.
    pub(super) fn finish(self) -> ReplicaTokens {
        let Draft { mut entries, names, seen } = self;
        drop(seen);
        entries.sort_unstable_by_key(|(digest, _)| digest.0);
        let bits = (entries.len() / ALIKE).max(1).ilog2();
        let mut starts = Vec::with_capacity((1usize << bits).saturating_add(1));
        for (place, (digest, _)) in (0u32..).zip(&entries) {
            while starts.len() <= first(digest, bits) {
                starts.push(place);
            }
        }
        let all = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        starts.resize((1usize << bits).saturating_add(1), all);
        ReplicaTokens { entries: entries.into(), starts: starts.into(), bits, names }
    }
}

impl ReplicaTokens {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The token with this digest.
    pub(super) fn get(&self, digest: &TokenDigest) -> Option<ReplicaToken> {
        let bucket = first(digest, self.bits);
        let from = *self.starts.get(bucket)? as usize;
        let to = *self.starts.get(bucket.saturating_add(1))? as usize;
        let mut found = None;
        for (known, token) in self.entries.get(from..to)? {
            if verify_slices_are_equal(&known.0, &digest.0).is_ok() {
                found = Some(*token);
            }
        }
        found
    }

    /// What `token` is called.
    pub(super) fn name(&self, token: ReplicaToken) -> &str {
        self.names.get(token.name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TokenDigest, ReplicaToken)> {
        self.entries.iter().copied()
    }
}

/// The number that the first `bits` bits of a digest are.
fn first(digest: &TokenDigest, bits: u32) -> usize {
    let [a, b, c, d, ..] = digest.0;
    let word = u32::from_be_bytes([a, b, c, d]);
    word.checked_shr(u32::BITS.saturating_sub(bits)).unwrap_or(0) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_found_by_its_whole_digest_alone(
            seeds in prop::collection::btree_set(any::<[u8; 3]>(), 0..300),
            others in prop::collection::vec((any::<[u8; 3]>(), 0..32usize, 1..=255u8), 0..100),
        ) {
            // Digests that begin alike, or end alike, as random ones hardly do.
            let digest = |seed: [u8; 3]| {
                let mut digest = [seed[1]; 32];
                (digest[0], digest[16], digest[31]) = (seed[0] & 0xf0, seed[1], seed[2]);
                TokenDigest(digest)
            };
            let known: std::collections::BTreeMap<[u8; 32], [u8; 3]> =
                seeds.iter().map(|seed| (digest(*seed).0, *seed)).collect();
            let mut draft = Draft::default();
            for (digest, seed) in &known {
                let name = format!("t{}", seed[2] % 7);
                let set = u32::from(seed[0]);
                draft.add(TokenDigest(*digest), Text::EMPTY, set, i64::from(seed[1]), &name).unwrap();
            }
            let tokens = draft.finish();
            prop_assert_eq!(tokens.len(), known.len());
            for (digest, seed) in &known {
                let token = tokens.get(&TokenDigest(*digest)).unwrap();
                prop_assert_eq!(token.until, u32::from(seed[1]));
                prop_assert_eq!(tokens.name(token), format!("t{}", seed[2] % 7));
            }
            for (seed, at, flip) in others {
                let mut other = digest(seed);
                other.0[at] ^= flip;
                prop_assert_eq!(tokens.get(&other).is_some(), known.contains_key(&other.0));
            }
        }
    }

    #[test]
    fn of_no_tokens_none_is_found() {
        for tokens in [ReplicaTokens::default(), Draft::default().finish()] {
            assert!(tokens.get(&TokenDigest([0; 32])).is_none());
            assert!(tokens.get(&TokenDigest([255; 32])).is_none());
        }
    }

    #[test]
    fn what_a_token_takes_beside_its_name() {
        assert_eq!(size_of::<(TokenDigest, ReplicaToken)>(), 48);
    }
}
