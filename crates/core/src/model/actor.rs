//! Who does something by hand.

use std::fmt;

/// Who does something by hand, or in the name of a section of the configuration.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Actor {
    /// An account of the operating system, such as `ada (uid 1000)`; of what was imported whoever
    /// stood there.
    Account(String),
    /// `[default_admin]`: a run that sees to it.
    DefaultAdmin,
}

/// [`Actor::DefaultAdmin`] in output and in what is stored. No account is called so: a uid always
/// stands beside a name.
const DEFAULT_ADMIN: &str = "[default_admin]";

impl Actor {
    /// As it is shown and stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Actor::Account(account) => account,
            Actor::DefaultAdmin => DEFAULT_ADMIN,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<String> for Actor {
    /// As it is stored.
    fn from(text: String) -> Self {
        if text == DEFAULT_ADMIN { Actor::DefaultAdmin } else { Actor::Account(text) }
    }
}

impl From<&str> for Actor {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        match actor {
            Actor::Account(account) => account,
            actor => actor.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores hold these texts, and held plans.
    #[test]
    fn whoever_it_was_is_read_as_it_was_written() {
        for actor in [Actor::DefaultAdmin, Actor::Account("ada (uid 1000)".to_owned())] {
            assert_eq!(Actor::from(actor.to_string()), actor);
            let json = serde_json::to_string(&actor).unwrap();
            assert_eq!(json, format!("\"{actor}\""));
            assert_eq!(serde_json::from_str::<Actor>(&json).unwrap(), actor);
        }
    }
}
