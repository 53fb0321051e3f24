//! Lists of people by their ids alone.

use super::api::members;
use super::client::Client;
use super::fault::CallError;
use super::pages::{self, Page, Paging, TRIES};
use super::read::{Attempt, FailureBudget};

/// Whom to ask, and how.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub client: &'a Client,
    pub budget: &'a FailureBudget,
    pub paging: Paging,
}

/// The ids of a list of people, distinct. Empty: as it came, which is no proof.
pub(super) async fn ids(
    asker: Asker<'_>,
    path: &[&str],
    filter: Option<(&str, &str)>,
) -> Result<Attempt<Vec<String>>, CallError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let pass = pages::read(asker.paging, pages::USUAL, |span| {
            Box::pin(async move {
                let mut query: Vec<(&str, &str)> = filter.into_iter().collect();
                query.push(("briefRepresentation", "true"));
                query.extend(span.query.iter().map(|(key, value)| (*key, value.as_str())));
                let parse = |body: &[u8]| {
                    let mut ids = Vec::new();
                    let Page { rows, first, last, .. } =
                        members(body, span.repeats, |row| ids.push(row.id.into_owned()))?;
                    Ok(Page { what: ids, rows, first, last })
                };
                asker.budget.get(asker.client, path, &query, parse).await
            })
        });
        match pass.await? {
            Attempt::Unknown(reason) => return Ok(Attempt::Unknown(reason)),
            Attempt::Got(pass) if !pass.slipped => {
                let mut ids = pass.pages.concat();
                ids.sort();
                ids.dedup();
                return Ok(Attempt::Got(ids));
            }
            Attempt::Got(_) if tries == TRIES => {
                let reason = "people came or went whenever the pages were read";
                return Ok(Attempt::Unknown(reason.to_owned()));
            }
            Attempt::Got(_) => {}
        }
    }
}

/// The id of the first of a list of people.
pub(super) fn first_id(body: &[u8]) -> serde_json::Result<Option<String>> {
    let page = members(body, false, |_| {})?;
    Ok(Some(page.first).filter(|id| !id.is_empty()))
}
