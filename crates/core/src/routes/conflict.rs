//! Routes that tie: two that take the same request, neither more specific than the other.

use std::collections::HashMap;

use super::host::HostPattern;
use super::table::built_in;
use super::template::{Preset, RouteSpec, Segment, Target};
use crate::policy::Action;

/// The routes seen so far, by the shape of their paths. Routes of one shape tie where they list the
/// same method, or where both take any; one that lists a method goes before one that takes any, and
/// routes of different shapes never tie, nor do routes that share no host: of two hosts that both fit the
/// more specific one decides. Nor does an own route that says the same as the preset's:
/// which of the two is taken is all the same.
#[derive(Default)]
pub struct Shapes(HashMap<Vec<Option<String>>, Vec<Seen>>);

struct Seen {
    /// Empty: any.
    methods: Vec<String>,
    /// Empty: those that no route names.
    hosts: Vec<HostPattern>,
    path: String,
    /// In words.
    whose: String,
    /// What a request there is decided as, for a route of the preset.
    built_in: Option<(Action, Target)>,
}

impl Shapes {
    /// Those of a preset.
    #[must_use]
    pub fn of(preset: Option<Preset>) -> Self {
        let mut shapes = Shapes::default();
        for (origin, route) in preset.into_iter().flat_map(built_in) {
            shapes.note(&route, origin.to_string(), Some(meaning(&route)));
        }
        shapes
    }

    /// Takes a route of the configuration; says with which earlier one it ties, if with any.
    pub fn add(&mut self, route: &RouteSpec, whose: String) -> Option<String> {
        self.note(route, whose, None)
    }

    fn note(
        &mut self,
        route: &RouteSpec,
        whose: String,
        built_in: Option<(Action, Target)>,
    ) -> Option<String> {
        // `*` at the end is one segment or more: another shape than `{name}` there.
        let last = route.segments.last().filter(|last| **last == Segment::Any);
        let shape = route.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Some(text.clone()),
            Segment::Capture(_) | Segment::Any => None,
        });
        let shape = shape.chain(last.map(|_| Some("*".to_owned()))).collect();
        let seen = self.0.entry(shape).or_default();
        let meaning = meaning(route);
        let differs = |other: &&Seen| other.built_in.as_ref() != Some(&meaning);
        let tie = seen.iter().filter(differs).find_map(|other| {
            let shared = shared(&route.methods, &other.methods)?;
            let host = shared_host(&route.hosts, &other.hosts)?;
            Some(format!(
                "is ambiguous: {shared} on `{host}{}` is taken by {} already",
                other.path, other.whose
            ))
        });
        let RouteSpec { methods, hosts, path, .. } = route.clone();
        seen.push(Seen { methods, hosts, path, whose, built_in });
        tie
    }
}

/// What a route's requests are decided as: captures are told by their place, not by their name.
fn meaning(route: &RouteSpec) -> (Action, Target) {
    let mut target = route.target.clone();
    if let Target::Resource(text) = &mut target {
        for (place, segment) in route.segments.iter().enumerate() {
            if let Segment::Capture(name) = segment {
                // No name holds a `/`, so what was replaced is not replaced again.
                *text = text.replace(&format!("{{{name}}}"), &format!("{{/{place}}}"));
            }
        }
    }
    (route.action.clone(), target)
}

/// The host for which two routes both are, in words: nothing where both are for any that no route
/// names.
fn shared_host(one: &[HostPattern], other: &[HostPattern]) -> Option<String> {
    if one.is_empty() && other.is_empty() {
        return Some(String::new());
    }
    one.iter().find(|host| other.contains(host)).map(ToString::to_string)
}

/// What two routes both take with equal rank, in words.
fn shared(one: &[String], other: &[String]) -> Option<String> {
    if one.is_empty() && other.is_empty() {
        return Some("any method".to_owned());
    }
    one.iter().find(|method| other.contains(method)).map(|method| format!("`{method}`"))
}
