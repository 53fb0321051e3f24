//! A name that the gateway vouches for. The gateway must overwrite or remove what its clients send
//! under that header: nothing here can tell the difference.

use std::sync::Arc;

use super::super::question::{Caller, Header, Identity, Unidentified};
use super::claims::username;

/// Who asks, by the header called `name`. A header without content is none: a gateway that knows
/// nobody may set it empty.
///
/// # Errors
/// The header is there twice, is not text, or is no username.
pub(super) fn identify(name: &str, header: Header<'_>) -> Result<Identity, Unidentified> {
    match header {
        Header::Absent | Header::One("") => Ok(Identity::Nobody),
        Header::One(user) => {
            let username = username(user)
                .map_err(|error| Unidentified::Refused(format!("header `{name}`: {error}")))?;
            let caller = Caller { username, issuer: None, subject: None, roles: None };
            Ok(Identity::Caller(Arc::new(caller)))
        }
        Header::Bad => Err(Unidentified::Refused(format!(
            "the header `{name}` is there more than once, or is not text"
        ))),
    }
}
