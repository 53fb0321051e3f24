//! How long tokens live at a source, beside how long they count at the gateway.

use std::time::Duration;

use crate::config::{Config, SourceConfig};
use crate::model::{Diagnostic, DiagnosticCode, SessionRealm, Subject};
use crate::source::Source;
use crate::source::sessions::{TokenLife, TokensOf};

/// How long the source may take to say it: nothing hangs on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is worth telling where tokens of the source's people live longer than
/// `gateway.logout.max_token_lifetime`: they are refused before they expire.
pub(super) async fn outlive(
    config: &Config,
    source: &SourceConfig,
    opened: &dyn Source,
) -> Vec<Diagnostic> {
    let Some(gateway) = &config.gateway else { return Vec::new() };
    let (Some(logout), Some(sessions)) = (gateway.logout, opened.as_sessions()) else {
        return Vec::new();
    };
    let realm = SessionRealm::Source(source.name.clone());
    let Some(clients) = gateway.parties_of(&realm) else { return Vec::new() };
    let most = logout.max_token_lifetime;
    let warning = |message| {
        let subject = Subject::Setting("gateway.logout.max_token_lifetime".to_owned());
        Diagnostic::warning(DiagnosticCode::TokensOutlive, subject, message)
    };
    let why = match tokio::time::timeout(PATIENCE, sessions.token_lives(&clients)).await {
        Ok(Ok(lives)) => {
            let longer = |life: &&TokenLife| life.lives.is_none_or(|lives| lives > most);
            return lives.iter().filter(longer).map(|life| warning(words(life, most))).collect();
        }
        Ok(Err(error)) => error.message,
        Err(_) => format!("no answer came within {} s", PATIENCE.as_secs()),
    };
    vec![warning(format!("it cannot be told how long access tokens live there: {why}"))]
}

fn words(life: &TokenLife, most: Duration) -> String {
    let (whose, key) = match &life.of {
        TokensOf::Realm => ("the realm's access tokens".to_owned(), "`accessTokenLifespan`"),
        TokensOf::Client(id) => {
            (format!("access tokens of client `{id}`"), "its `access.token.lifespan`")
        }
        TokensOf::ImplicitFlow(id) => (
            format!("access tokens of client `{id}` by the implicit flow"),
            "the realm's `accessTokenLifespanForImplicitFlow`",
        ),
    };
    let long = match life.lives {
        Some(lives) => format!("{} s", lives.as_secs()),
        None => "as long as their session".to_owned(),
    };
    format!(
        "{whose} live {long} ({key}), and count for {} s here \
         (`gateway.logout.max_token_lifetime`): from then on they are refused; raise that, or let \
         them live shorter",
        most.as_secs()
    )
}
