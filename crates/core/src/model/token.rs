//! Access tokens: what a plan has to know of those that are there, and what makes a new one.
//!
//! A million of them must fit beside a million people, and most plans change none. So the states of
//! one run share one [`Tokens`], and what no plan asks for (description, who made it) stays in the
//! store.

use hashbrown::HashMap;

use super::{
    Inconsistent, IndexVec, RoleListIdx, RoleSetId, Text, Texts, Time, TokenIdx, TooMany, UserId,
};

/// SHA-256 of a token's secret, as its text stands: all that is kept of it.
pub type Digest = [u8; 32];

/// A secret's length: 32 random bytes as base64url without padding.
pub const SECRET_LENGTH: usize = 43;

/// The digest under which a token of this secret is kept.
#[must_use]
pub fn digest(secret: &str) -> Digest {
    use sha2::Digest as _;
    sha2::Sha256::digest(secret.as_bytes()).into()
}

/// Whether `name` may name a token: `[a-zA-Z]([a-zA-Z0-9_-]*[a-zA-Z0-9])?`.
///
/// # Errors
/// It may not; the message says what may.
pub fn check_name(name: &str) -> Result<(), TokenNameError> {
    let bytes = name.as_bytes();
    let ends = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
    if ends && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b)) {
        return Ok(());
    }
    Err(TokenNameError(name.to_owned()))
}

/// A name that no token may have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{}` is no name for a token: a letter, then letters, digits, `-` and `_`, the last one a letter \
     or digit",
    .0.escape_debug()
)]
pub struct TokenNameError(String);

/// A token that is in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its owner.
    pub user: UserId,
    /// Its name, unique among the owner's: [`Tokens::name`].
    pub name: Text,
    /// The roles that it was made with and that its owner has held ever since: [`Tokens::roles`].
    pub roles: RoleListIdx,
    /// Of its secret.
    pub digest: Digest,
    /// From then on it is refused.
    pub expires_at: Time,
    /// The role set that it decides with, as stored.
    pub role_set: RoleSetId,
}

/// A token that is to be made.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct NewToken {
    /// Its name: see [`check_name`].
    pub name: String,
    /// Of its secret.
    pub digest: Digest,
    /// From then on it is refused.
    pub expires_at: Time,
    /// Its roles by name, sorted, distinct.
    pub roles: Vec<String>,
    /// What it is for, in their words; may be empty.
    pub description: String,
    /// Who made it: an operating-system account name.
    pub by: String,
    /// When.
    pub at: Time,
}

/// All tokens, sorted by owner and name. Roles stand by name: they mean the same in every state.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    list: IndexVec<TokenIdx, Token>,
    names: Texts,
    roles: IndexVec<RoleListIdx, Box<[String]>>,
    by_roles: HashMap<Box<[String]>, RoleListIdx>,
}

impl Tokens {
    /// With room for `count` tokens.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Tokens {
            list: IndexVec::with_capacity(count),
            names: Texts::with_capacity(count, 12),
            ..Tokens::default()
        }
    }

    /// All of them, sorted by owner and name.
    #[must_use]
    pub fn list(&self) -> &IndexVec<TokenIdx, Token> {
        &self.list
    }

    /// Those of `user`, sorted by name.
    #[must_use]
    pub fn of(&self, user: UserId) -> &[Token] {
        let from = self.list.partition_point(|token| token.user < user);
        let (_, mine) = self.list.split_at(from);
        mine.split_at(mine.partition_point(|token| token.user == user)).0
    }

    /// The token of `user` that is called `name`.
    #[must_use]
    pub fn find(&self, user: UserId, name: &str) -> Option<&Token> {
        let mine = self.of(user);
        let place = mine.binary_search_by(|token| self.name(token).cmp(name)).ok()?;
        mine.get(place)
    }

    /// What `token` is called.
    #[must_use]
    pub fn name(&self, token: &Token) -> &str {
        self.text(token.name)
    }

    /// A name that a token has or has had: [`Token::name`].
    #[must_use]
    pub fn text(&self, name: Text) -> &str {
        self.names.get(name)
    }

    /// The names that tokens have or have had.
    #[must_use]
    pub fn names(&self) -> &Texts {
        &self.names
    }

    /// The roles of `token` by name, sorted: [`Token::roles`].
    ///
    /// # Errors
    /// It is no token of these: its list of roles is none.
    pub fn roles(&self, token: &Token) -> Result<&[String], Inconsistent> {
        let roles = self.roles.get(token.roles);
        roles.map(|roles| &**roles).ok_or(Inconsistent::NoSuchRoleList(token.roles))
    }

    /// Every distinct list of roles: [`Token::roles`] is a place in it.
    #[must_use]
    pub fn lists_of_roles(&self) -> &IndexVec<RoleListIdx, Box<[String]>> {
        &self.roles
    }

    /// The place of a list of roles (sorted, distinct), added where it is new.
    ///
    /// # Errors
    /// It is new, and there is no number left for it.
    pub fn roles_place(&mut self, roles: &[String]) -> Result<RoleListIdx, TooMany> {
        if let Some(place) = self.by_roles.get(roles) {
            return Ok(*place);
        }
        let place = self.roles.push(roles.into())?;
        self.by_roles.insert(roles.into(), place);
        Ok(place)
    }

    /// Adds a name for a token: [`Token::name`].
    ///
    /// # Errors
    /// There is no room left for it.
    pub fn add_name(&mut self, name: &str) -> Result<Text, TooMany> {
        self.names.add(name)
    }

    /// Adds a token. Whoever has added all sorts them: [`Tokens::sort`].
    ///
    /// # Errors
    /// There is no number left for it.
    pub fn push(&mut self, token: Token) -> Result<(), TooMany> {
        self.list.push(token).map(drop)
    }

    /// Brings them into order.
    pub fn sort(&mut self) {
        let names = &self.names;
        // Sorted but for a few at the end, which this sort is made for.
        self.list.sort_by(|a, b| {
            a.user.cmp(&b.user).then_with(|| names.get(a.name).cmp(names.get(b.name)))
        });
    }

    /// Keeps those of which `keep` says so: it is given each with its place.
    pub fn retain(&mut self, keep: impl FnMut(TokenIdx, &Token) -> bool) {
        self.list.retain(keep);
    }

    /// Gives the token at `place` other roles and says that it decides with `role_set`.
    pub fn put(&mut self, place: TokenIdx, roles: RoleListIdx, role_set: RoleSetId) {
        if let Some(token) = self.list.get_mut(place) {
            (token.roles, token.role_set) = (roles, role_set);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_name_is_a_letter_and_more_that_ends_in_a_letter_or_digit() {
        for good in ["a", "Z", "ci", "ci-2", "a_b", "default-admin-token", "a-_-b9"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-", "1a", "_a", "a-", "a_", "a b", "a.b", "ä", "a/b", "a\n", " a"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_digest_is_sha_256_of_the_text() {
        let hex: String = digest("abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn tokens_are_found_by_owner_and_name() {
        let mut tokens = Tokens::default();
        let roles = tokens.roles_place(&["a".to_owned()]).unwrap();
        assert_eq!(tokens.roles_place(&["a".to_owned()]), Ok(roles));
        for (user, name) in [(2, "x"), (1, "b"), (2, "a"), (1, "a"), (7, "c")] {
            let name = tokens.add_name(name).unwrap();
            let expires_at = Time::UNIX_EPOCH;
            let role_set = RoleSetId::EMPTY;
            let user = UserId::new(user);
            tokens
                .push(Token { user, name, roles, digest: [0; 32], expires_at, role_set })
                .unwrap();
        }
        tokens.sort();
        let named =
            |user| tokens.of(UserId::new(user)).iter().map(|t| tokens.name(t)).collect::<Vec<_>>();
        assert_eq!((named(1), named(2), named(3)), (vec!["a", "b"], vec!["a", "x"], vec![]));
        assert!(
            tokens
                .find(UserId::new(2), "x")
                .is_some_and(|token| tokens.roles(token).unwrap() == ["a"])
        );
        assert_eq!(tokens.find(UserId::new(2), "b"), None);
    }
}
