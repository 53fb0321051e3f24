//! `idpsyncd plan`: what the guard holds.

use chrono::Utc;
use serde_json::json;

use super::args::{Output, PlanCommand};
use super::print::{self, Style};
use super::{AlreadyDone, Context, Failure, changes, exit, reach};
use crate::plan::{Changes, view};
use crate::sync;

pub(super) fn run(at: Context<'_>, command: &PlanCommand, output: Output) -> Result<u8, Failure> {
    match command {
        PlanCommand::Show { id, all } => show(at, id.as_deref(), *all, output),
        PlanCommand::Approve { id, all } => approve(at, id, *all, output),
        PlanCommand::Discard { id } => {
            sync::discard(at.store, id)?;
            AlreadyDone::that(format!("plan {id} is forgotten")).then(match output {
                Output::Json => print::json(&json!({ "id": id, "discarded": true })),
                Output::Text => print::lines(&[format!(
                    "Plan {id} is forgotten until the next run asks again."
                )]),
            })?;
            Ok(exit::DONE)
        }
    }
}

fn show(at: Context<'_>, id: Option<&str>, all: bool, output: Output) -> Result<u8, Failure> {
    let Context { config, store } = at;
    let reader = sync::existing_reader(store)?;
    let held = match id {
        Some(id) => Some(sync::find_held(&*reader, id)?),
        None => reader.held()?,
    };
    // Whoever is asked to approve sees what that widens. It takes a whole plan to tell, so only where
    // it can be.
    let widens = match &held {
        Some(held) if !config.workload.is_empty() => {
            Some(sync::approvable(config, &*reader, &held.id, Utc::now()))
        }
        _ => None,
    };
    match (output, held) {
        (Output::Json, Some(held)) => {
            let mut value = serde_json::to_value(&held).map_err(|error| {
                Failure::Error(format!("cannot write the plan as JSON: {error}"))
            })?;
            if let (Some(widens), Some(map)) = (&widens, value.as_object_mut()) {
                let reach = widens.as_ref().ok();
                let reach = reach.map(|plan| json!(reach::Rows(Some(plan))));
                map.insert("reach".to_owned(), json!(reach));
            }
            print::json(&value)?;
        }
        // With nothing held there is no plan, and so no id.
        (Output::Json, None) => print::json(&serde_json::Value::Null)?,
        (Output::Text, None) => print::lines(&["Nothing is held.".to_owned()])?,
        (Output::Text, Some(held)) => {
            let style = Style::detect();
            let mut out = changes::held_lines(&held, all, style);
            match &widens {
                Some(Ok(plan)) => {
                    out.extend(reach::lines(plan, all, style));
                }
                Some(Err(why)) => out.push(format!(
                    "Whether anybody would reach more in the clouds is not known: {why}"
                )),
                None => {}
            }
            out.push(String::new());
            out.push(format!("To let it happen: idpsyncd plan approve {}", held.id));
            out.push(format!("To forget it until the next run: idpsyncd plan discard {}", held.id));
            print::lines(&out)?;
        }
    }
    Ok(exit::DONE)
}

fn approve(at: Context<'_>, id: &str, all: bool, output: Output) -> Result<u8, Failure> {
    let Context { config, store } = at;
    let (plan, generation) = sync::approve(config, store, id, "idpsyncd plan approve", Utc::now())?;
    AlreadyDone::generation(generation).then(match output {
        Output::Json => {
            let words = |change| view(change, &plan);
            let changes: Vec<_> = plan.changes.iter().map(words).collect();
            print::json(&json!({
                "id": id, "approved": true, "generation": generation,
                "summary": plan.summary, "changes": changes,
                "reach": reach::Rows(Some(&plan)),
            }))
        }
        Output::Text => {
            let style = Style::detect();
            let mut out = vec![style.bold("What changed")];
            let changes = Changes::Planned(&plan);
            out.extend(changes::lines(changes, all, style));
            out.extend(reach::lines(&plan, all, style));
            out.push(String::new());
            out.push(format!("Plan {id} is applied: generation {generation} is committed."));
            print::lines(&out)
        }
    })?;
    Ok(exit::DONE)
}
