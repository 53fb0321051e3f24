//! Usernames as the store keeps them: PRECIS `UsernameCaseMapped` (RFC 8265, section 3.3), after
//! the spaces at both ends that LDAP's matching rules ignore.

use std::borrow::Cow;

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::PrecisFastInvocation;

/// Which of a person's names the gateway calls them by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsernameFrom {
    /// The source's username.
    Username,
    /// The email address.
    Email,
}

/// A text that no user can be called.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{}` is not a username by RFC 8265", .0.escape_debug())]
pub struct UsernameError(String);

/// The form in which usernames are compared and kept. Spaces at its ends are no part of a name: to
/// a directory `charlie ` and `charlie` are one (RFC 4518, sections 2.2 and 2.6.1, which take every
/// separator and tab or line end for a space).
///
/// # Errors
/// PRECIS refuses the name (empty, white space, control or unassigned characters, mixed
/// directions); the message says so without quoting control characters.
pub fn canonical(name: &str) -> Result<Cow<'_, str>, UsernameError> {
    // Plain lower-case ASCII is its own canonical form: the common case costs no allocation.
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()) {
        return Ok(Cow::Borrowed(name));
    }
    UsernameCaseMapped::enforce(name.trim()).map_err(|_| UsernameError(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn names_fold_case_and_width_and_refuse_what_precis_refuses() {
        assert_eq!(canonical("Alice").as_deref(), Ok("alice"));
        assert_eq!(canonical("alice@example.org").as_deref(), Ok("alice@example.org"));
        assert_eq!(canonical("Ａｌｉｃｅ").as_deref(), Ok("alice"));
        assert_eq!(canonical("ÉMILE").as_deref(), Ok("émile"));
        for spaced in [" alice", "alice  ", "\talice\n", "\u{a0}Alice\u{2003}", "alice\r"] {
            assert_eq!(canonical(spaced).as_deref(), Ok("alice"), "{spaced:?}");
        }
        for bad in ["", " ", "a b", "a\u{0}b", "\u{265a}", "\u{200b}a", "a\u{0}", "\u{fffd}a"] {
            assert!(canonical(bad).is_err(), "{bad:?}");
        }
    }
}
