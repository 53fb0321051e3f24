//! Someone whom the gateway vouches for. The gateway must overwrite or remove what its clients send
//! under those headers: nothing here can tell the difference.

use std::sync::Arc;

use super::claims::username;
use super::fault::NoProof;
use crate::config::{GatewayConfig, SubjectHeader};
use crate::gateway::question::{Header, Headers, Identity};
use crate::model::caller::{Caller, KnownBy};

/// The headers that say who asks.
pub(super) struct Vouched {
    user: String,
    subject: Option<SubjectHeader>,
}

impl Vouched {
    pub(super) fn new(config: &GatewayConfig) -> Self {
        Vouched { user: config.user_header.clone(), subject: config.subject.clone() }
    }

    /// Who asks. A header without content is none: a gateway that knows nobody may set it empty.
    /// Where a header holds a source's id, that decides, and the name is not looked at.
    ///
    /// # Errors
    /// A header is there twice, is not text, or is no username; a name is there without its id.
    pub(super) fn identify(&self, headers: &dyn Headers) -> Result<Identity, NoProof> {
        let name = value(&self.user, headers)?;
        let Some(SubjectHeader { header, source }) = &self.subject else {
            let Some(name) = name else { return Ok(Identity::Nobody) };
            let name =
                username(name).map_err(|why| NoProof::Name { header: self.user.clone(), why })?;
            return Ok(Identity::Caller(Arc::new(Caller::named(name))));
        };
        match (value(header, headers)?, name) {
            (Some(ext), name) => {
                let known_by = KnownBy::Id { source: source.clone(), ext: ext.to_owned() };
                let name = name.and_then(|name| username(name).ok());
                let caller = Caller { known_by, name, issuer: None, roles: None, named: None };
                Ok(Identity::Caller(Arc::new(caller)))
            }
            (None, None) => Ok(Identity::Nobody),
            (None, Some(_)) => Err(NoProof::NoId { name: self.user.clone(), id: header.clone() }),
        }
    }
}

/// The header called `name`, where it has content.
fn value<'h>(name: &str, headers: &'h dyn Headers) -> Result<Option<&'h str>, NoProof> {
    match headers.header(name) {
        Header::Absent | Header::One("") => Ok(None),
        Header::One(value) => Ok(Some(value)),
        Header::Bad => Err(NoProof::HeaderTwice(name.to_owned())),
    }
}
