//! The digest of a mirror: the same facts, the same digest, whatever their order and their history.
//!
//! Every row (a person, a reference) has a digest of its own, and the mirror's is their sum modulo
//! 2^256. So whoever changes one row takes its old digest away and adds the new one, and looks at
//! no other. A reference's row counts its members and what it leads to by such a sum as well (of
//! the digests of their ids), so that one member more costs an addition and not a pass over all.
//!
//! # The encoding, version 1
//!
//! A row's digest is SHA-256 over the store's key (32 bytes and 32 zeros: one block), one byte that
//! says what follows, and the fields in the order of [`Rows`]: texts with their length in bytes
//! before them (32 bits, little-endian), flags and kinds as one byte each, sums as 32 bytes. It is
//! read as a number, little-endian. [`MirrorDigest`] prints it with the version: another encoding prints
//! another digest, and costs one run that plans anew.
//!
//! # Why a sum is safe here
//!
//! Sums of hashes modulo 2^256 can be steered: whoever knows the function and may choose many rows
//! finds a set of them that adds nothing (Wagner's generalised birthday, far below 2^128 steps). A
//! source's people choose their own names, so they might hide a change from the next run that way.
//! Hence the key: it is random, made with the store and never leaves it, so that to everybody else
//! the rows' digests are random numbers of which they see none. No two encodings are prefixes of
//! each other, so the key before the text makes SHA-256 a keyed function in the first place. Who
//! can read the store's file can read the key, but all the facts as well.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Directory, Enabled, Kind, OwnDomain, Proven, RefIdx, Rid};
use crate::model::IndexVec;
use crate::model::index::Place;

/// What a store's digests hang on: random, made with the store. The default is for comparing two
/// directories that are in no store.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        DigestKey(bytes)
    }

    /// The sum of the ids of those in a list, which was `sum`, after these have come (by external id) and
    /// those gone.
    #[must_use]
    pub fn moved(&self, mut sum: Sum, joined: &[String], left: &[String]) -> Sum {
        let mut rows = Rows::new(self);
        joined.iter().for_each(|ext| sum.add(rows.person_id(ext)));
        left.iter().for_each(|ext| sum.take(rows.person_id(ext)));
        sum
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey")
    }
}

/// A number modulo 2^256: the digest of a row, or the sum of several.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sum([u64; 4]);

impl Sum {
    /// The number of these bytes, little-endian.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(bytes.as_chunks().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        Sum(limbs)
    }

    /// Its bytes, little-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (limb, bytes) in self.0.iter().zip(bytes.as_chunks_mut().0) {
            *bytes = limb.to_le_bytes();
        }
        bytes
    }

    /// Adds `other`.
    pub fn add(&mut self, other: Sum) {
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = limb.overflowing_add(other);
            let (sum, more) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over | more;
        }
    }

    /// Takes `other` away.
    pub fn take(&mut self, other: Sum) {
        let mut borrow = false;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            let (rest, under) = limb.overflowing_sub(other);
            let (rest, more) = rest.overflowing_sub(u64::from(borrow));
            *limb = rest;
            borrow = under | more;
        }
    }
}

/// The digest of a mirror. Prints as `1:` (the encoding's version) and 64 hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MirrorDigest(pub(super) Sum);

impl fmt::Display for MirrorDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1:")?;
        self.0.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for MirrorDigest {
    type Err = OtherEncoding;

    fn from_str(text: &str) -> Result<Self, OtherEncoding> {
        let hex = text.strip_prefix("1:").ok_or(OtherEncoding)?;
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(OtherEncoding);
        }
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().as_chunks::<2>().0) {
            let digits = std::str::from_utf8(digits).map_err(|_| OtherEncoding)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| OtherEncoding)?;
        }
        Ok(MirrorDigest(Sum::from_bytes(bytes)))
    }
}

/// A text is no [`MirrorDigest`], or one that another version of the encoding made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the digest is of another version's making")]
pub struct OtherEncoding;

/// The digest of a whole directory, with the sums that its rows are kept with.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct DirectoryDigest {
    /// Of everything.
    pub whole: MirrorDigest,
    /// For each reference the sum of the ids of those who are directly in it.
    pub members: IndexVec<RefIdx, Sum>,
}

/// A person's row, as far as the digest goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PersonFields<'a> {
    pub ext: &'a str,
    pub username: &'a str,
    pub email: &'a str,
    pub federation: &'a str,
    pub email_verified: bool,
    pub enabled: Enabled,
    pub linkable: bool,
    pub rid: Rid,
}

/// A reference's row, as far as the digest goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefFields<'a> {
    pub kind: Kind,
    pub key: &'a str,
    pub name: &'a str,
    pub identity: &'a str,
    pub norm: &'a str,
    pub parent: Option<(Kind, &'a str)>,
    pub known: bool,
    pub implies_known: bool,
    pub members: Sum,
    pub implies: Sum,
    pub rid: Rid,
}

/// Digests of rows under one key.
pub(super) struct Rows {
    /// Has taken the key in.
    keyed: Sha256,
    /// The row that is being encoded.
    row: Vec<u8>,
}

/// What kind of row, in its digest.
mod tag {
    pub(super) const PERSON_ID: u8 = 1;
    pub(super) const PERSON: u8 = 2;
    pub(super) const REF_ID: u8 = 3;
    pub(super) const REF: u8 = 4;
    pub(super) const HEAD: u8 = 5;
    pub(super) const PERSON_OF_DOMAIN: u8 = 6;
    pub(super) const REF_OF_DOMAIN: u8 = 7;
    pub(super) const DOMAIN: u8 = 8;
    pub(super) const HEAD_WITH_ORGANIZATIONS: u8 = 9;
}

impl Rows {
    pub(super) fn new(key: &DigestKey) -> Self {
        let mut keyed = Sha256::new();
        keyed.update(key.0);
        keyed.update([0; 32]);
        Rows { keyed, row: Vec::with_capacity(256) }
    }

    /// Of who a person is: the external id.
    pub(super) fn person_id(&mut self, ext: &str) -> Sum {
        self.begin(tag::PERSON_ID);
        self.text(ext);
        self.end()
    }

    pub(super) fn person(&mut self, person: &PersonFields<'_>) -> Sum {
        let PersonFields { ext, username, email, federation, .. } = *person;
        let PersonFields { email_verified, enabled, linkable, rid, .. } = *person;
        self.begin(if rid == Rid::Unread { tag::PERSON } else { tag::PERSON_OF_DOMAIN });
        for field in [ext, username, email, federation] {
            self.text(field);
        }
        let enabled = match enabled {
            Enabled::Yes => 0,
            Enabled::No => 1,
            Enabled::Unknown => 2,
        };
        self.row.extend([u8::from(email_verified), enabled, u8::from(linkable)]);
        self.rid(rid);
        self.end()
    }

    /// Of what a reference is: its kind and key.
    pub(super) fn ref_id(&mut self, kind: Kind, key: &str) -> Sum {
        self.begin(tag::REF_ID);
        self.id(kind, key);
        self.end()
    }

    pub(super) fn reference(&mut self, reference: &RefFields<'_>) -> Sum {
        let RefFields { kind, key, name, identity, norm, .. } = *reference;
        let RefFields { parent, known, implies_known, members, implies, rid, .. } = *reference;
        self.begin(if rid == Rid::Unread { tag::REF } else { tag::REF_OF_DOMAIN });
        self.id(kind, key);
        for field in [name, identity, norm] {
            self.text(field);
        }
        self.row.push(parent.is_some().into());
        if let Some((kind, key)) = parent {
            self.id(kind, key);
        }
        self.row.extend([known, implies_known].map(u8::from));
        self.row.extend(members.to_bytes());
        self.row.extend(implies.to_bytes());
        self.rid(rid);
        self.end()
    }

    /// Of what is said of a directory as a whole.
    pub(super) fn head(&mut self, ignore_case: bool, proven: Proven) -> Sum {
        let Proven { users, groups, roles, organizations } = proven;
        // Where none were read the row is what it was before they could be.
        self.begin(if organizations { tag::HEAD_WITH_ORGANIZATIONS } else { tag::HEAD });
        self.row.extend([ignore_case, users, groups, roles].map(u8::from));
        self.end()
    }

    /// Of the SID of the domain that a directory is; empty where that was never read.
    pub(super) fn domain(&mut self, domain: &str) -> Sum {
        self.begin(tag::DOMAIN);
        self.text(domain);
        self.end()
    }

    /// Where it was never read the row is what it was before rows had one.
    fn rid(&mut self, rid: Rid) {
        self.row.extend(rid.code().into_iter().flat_map(u32::to_le_bytes));
    }

    fn begin(&mut self, tag: u8) {
        self.row.clear();
        self.row.push(tag);
    }

    fn id(&mut self, kind: Kind, key: &str) {
        self.row.push(match kind {
            Kind::Group => 0,
            Kind::RealmRole => 1,
            Kind::ClientRole => 2,
            Kind::Attribute => 3,
            Kind::ForeignPrincipal => 4,
            Kind::Organization => 5,
            Kind::OrganizationGroup => 6,
        });
        self.text(key);
    }

    fn text(&mut self, text: &str) {
        // No text is as long as 4 GiB: an arena holds no more than that of all of them.
        self.row.extend((text.len() as u32).to_le_bytes());
        self.row.extend(text.as_bytes());
    }

    fn end(&self) -> Sum {
        let mut hash = self.keyed.clone();
        hash.update(&self.row);
        Sum::from_bytes(hash.finalize().into())
    }
}

impl Directory {
    /// A digest of everything here, for telling whether two directories say the same. In no store:
    /// it has no key.
    #[must_use]
    pub fn digest(&self) -> MirrorDigest {
        self.digests(&DigestKey::default()).whole
    }

    /// A digest of everything here under `key`, with the sums of members, reference by reference.
    /// Equal directories have equal digests.
    #[must_use]
    pub fn digests(&self, key: &DigestKey) -> DirectoryDigest {
        let mut rows = Rows::new(key);
        let mut whole = rows.head(self.ignore_case, self.proven);
        match self.own_domain() {
            OwnDomain::None => {}
            OwnDomain::Unread => whole.add(rows.domain("")),
            OwnDomain::Of(domain) => whole.add(rows.domain(domain)),
        }
        let people = self.users.map(|user| {
            whole.add(rows.person(&PersonFields {
                ext: self.text(user.ext),
                username: self.text(user.username),
                email: self.text(user.email),
                federation: self.text(user.federation),
                email_verified: user.email_verified,
                enabled: user.enabled,
                linkable: user.linkable,
                rid: user.rid,
            }));
            rows.person_id(self.text(user.ext))
        });
        let ids = self.refs.map(|it| rows.ref_id(it.kind, self.text(it.key)));
        let members = self.refs.map_numbered(|place, reference| {
            let in_it = sum(self.members.at(place), &people);
            let parent = reference.parent.map(|parent| self.refs.at(parent));
            whole.add(rows.reference(&RefFields {
                kind: reference.kind,
                key: self.text(reference.key),
                name: self.text(reference.name),
                identity: self.text(reference.identity),
                norm: self.text(reference.norm),
                parent: parent.map(|parent| (parent.kind, self.text(parent.key))),
                known: reference.known,
                implies_known: reference.implies_known,
                members: in_it,
                implies: sum(self.implies.at(place), &ids),
                rid: reference.rid,
            }));
            in_it
        });
        DirectoryDigest { whole: MirrorDigest(whole), members }
    }
}

/// The sum of those `ids` that are at `places`.
fn sum<I: Place>(places: &[I], ids: &IndexVec<I, Sum>) -> Sum {
    let mut sum = Sum::default();
    places.iter().for_each(|place| sum.add(*ids.at(*place)));
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::directory::{NewRef, NewUser, SnapshotBuilder};

    proptest! {
        #[test]
        fn what_is_added_and_taken_away_again_leaves_nothing(a: [u8; 32], b: [u8; 32]) {
            let (a, b) = (Sum::from_bytes(a), Sum::from_bytes(b));
            let mut sum = a;
            sum.add(b);
            sum.take(a);
            prop_assert_eq!(sum, b);
            prop_assert_eq!(Sum::from_bytes(a.to_bytes()), a);
            let digest = MirrorDigest(a);
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        }
    }

    #[test]
    fn a_carry_runs_through_all_limbs() {
        let mut sum = Sum([u64::MAX; 4]);
        sum.add(Sum([1, 0, 0, 0]));
        assert_eq!(sum, Sum::default());
        sum.take(Sum([1, 0, 0, 0]));
        assert_eq!(sum, Sum([u64::MAX; 4]));
    }

    fn small() -> Directory {
        let mut builder = SnapshotBuilder::new(false);
        let ann = builder
            .user(&NewUser {
                ext: "1",
                username: "ann",
                email: "ann@example.org",
                email_verified: true,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
        let refs: Vec<RefIdx> = ["eng", "ml"]
            .iter()
            .map(|name| {
                builder
                    .reference(&NewRef {
                        kind: Kind::Group,
                        key: name,
                        name,
                        identity: name,
                        norm: name,
                    })
                    .unwrap()
            })
            .collect();
        builder.member(refs[1], ann);
        builder.child(refs[0], refs[1]);
        builder.finish().directory
    }

    /// Digests are kept in stores: what this program makes of the same facts must not change
    /// without a new version.
    #[test]
    fn the_encoding_is_what_it_was() {
        assert_eq!(
            small().digests(&DigestKey::new([7; 32])).whole.to_string(),
            "1:f2b98c1479e7fbbf96ac2960fa0939fd95037d194a1850214f9cd275adf4513a"
        );
    }

    #[test]
    fn a_domain_another_and_none_and_one_that_was_not_read_are_told_apart() {
        let of = |domain: OwnDomain<&str>| {
            let mut directory = small();
            directory.domain = domain.map(|domain| directory.texts.add(domain).unwrap());
            directory.digest()
        };
        let domains = [
            OwnDomain::None,
            OwnDomain::Unread,
            OwnDomain::Of("S-1-5-21-1-2-3"),
            OwnDomain::Of("S-1-5-21-1-2-4"),
        ];
        let digests: std::collections::BTreeSet<String> =
            domains.into_iter().map(|domain| of(domain).to_string()).collect();
        assert_eq!(digests.len(), domains.len());
        assert_eq!(of(OwnDomain::None), small().digest());
    }

    #[test]
    fn another_key_makes_another_digest_and_no_key_is_printed() {
        let key = DigestKey::new([7; 32]);
        assert_ne!(small().digests(&key).whole, small().digest());
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn an_older_programs_digest_is_none() {
        for text in
            ["", "unknown since 7", &"0".repeat(64), &format!("2:{}", "0".repeat(64)), "1:0"]
        {
            assert_eq!(text.parse::<MirrorDigest>(), Err(OtherEncoding), "{text}");
        }
    }
}
