//! The credential that a request bears, told by its shape: three parts with dots between them are a
//! JWT, 43 characters of base64url an access token. What is told for one is never tried as the other.

use super::fault::CredentialError;
use crate::gateway::question::{Header, Headers, TokenDigest};
use crate::model::token::{self, SECRET_LENGTH};

/// The longest credential, in bytes.
const LONGEST: usize = 16 * 1024;

/// Where OSMO's clients may put a credential instead, without a scheme.
const OSMO_AUTH: &str = "x-osmo-auth";

/// Where credentials are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// `x-osmo-auth` counts where there is no `authorization`.
    pub osmo_auth: bool,
}

/// By which scheme a credential comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    /// Whoever has it may use it (RFC 6750).
    Bearer,
    /// Whoever has its key may use it (RFC 9449, section 7.1).
    Dpop,
}

impl Places {
    /// The one credential of a request (RFC 6750, section 2.1); `None`: it bears none.
    ///
    /// # Errors
    /// There are several, or what is there is no bearer's.
    pub(super) fn bearer(self, headers: &dyn Headers) -> Result<Option<&str>, CredentialError> {
        match self.presented(headers)? {
            None => Ok(None),
            Some((Scheme::Bearer, token)) => Ok(Some(token)),
            Some((Scheme::Dpop, _)) => Err(CredentialError::Scheme),
        }
    }

    /// The same, with the scheme by which it comes.
    ///
    /// # Errors
    /// Those of [`Places::bearer`], where the scheme is neither of both.
    pub(super) fn presented(
        self,
        headers: &dyn Headers,
    ) -> Result<Option<(Scheme, &str)>, CredentialError> {
        match headers.header("authorization") {
            Header::Absent if self.osmo_auth => match headers.header(OSMO_AUTH) {
                Header::Absent | Header::One("") => Ok(None),
                Header::One(value) => {
                    let (scheme, token) = value.split_once(' ').unwrap_or(("", value));
                    match scheme.is_empty() || scheme.eq_ignore_ascii_case("bearer") {
                        true => one(token).map(|token| Some((Scheme::Bearer, token))),
                        false => Err(CredentialError::OsmoAuth),
                    }
                }
                Header::Bad => Err(CredentialError::OsmoAuthTwice),
            },
            Header::Absent => Ok(None),
            Header::One(value) => of_scheme(value).map(Some),
            Header::Bad => Err(CredentialError::Twice),
        }
    }

    /// Whether a header is there twice, or is no text: one of them may be a token.
    pub(super) fn twice(self, headers: &dyn Headers) -> bool {
        let twice = |name| headers.header(name) == Header::Bad;
        twice("authorization") || (self.osmo_auth && twice(OSMO_AUTH))
    }
}

/// The token of an `authorization` header.
fn of_scheme(value: &str) -> Result<(Scheme, &str), CredentialError> {
    if value.is_empty() {
        return Err(CredentialError::Empty);
    }
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        _ if scheme.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
        _ => return Err(CredentialError::Scheme),
    };
    one(token).map(|token| (scheme, token))
}

fn one(token: &str) -> Result<&str, CredentialError> {
    let token = token.trim_start_matches(' ');
    if token.is_empty() {
        return Err(CredentialError::NoToken);
    }
    if token.len() > LONGEST {
        return Err(CredentialError::TooLong);
    }
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(CredentialError::NotAToken);
    }
    Ok(token)
}

/// Whether `text` has the shape of an access token.
pub(super) fn is_token(text: &str) -> bool {
    text.len() == SECRET_LENGTH
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Whether `text` has the shape of a JWT.
pub(super) fn is_jwt(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// What the store keeps of an access token in the place of the secret.
#[must_use]
pub fn digest(secret: &str) -> TokenDigest {
    TokenDigest(token::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::{is_jwt, is_token};

    #[test]
    fn the_shape_alone_tells_what_a_credential_is() {
        let of = |length: usize| "aZ09-_".chars().cycle().take(length).collect::<String>();
        for (text, token, jwt) in [
            (of(43), true, false),
            (of(42), false, false),
            (of(44), false, false),
            (of(64), false, false),
            (format!("{}=", of(42)), false, false),
            (format!("{}+", of(42)), false, false),
            (format!("{}.", of(42)), false, false),
            (format!("{}.{}.{}", of(10), of(10), of(21)), false, true),
            (format!("{}.{}", of(21), of(21)), false, false),
            (format!("{}é", of(41)), false, false),
            ("a.b.c.d.e".to_owned(), false, false),
            (String::new(), false, false),
        ] {
            assert_eq!((is_token(&text), is_jwt(&text)), (token, jwt), "{text}");
        }
    }
}
