//! Which route a request takes: its action, and on what.
//!
//! Routes are kept as a tree of segments. What a node has, in the order in which it is tried: the
//! child for exactly this segment, the child for any segment (`{name}` and `*` alike), the routes
//! with a `*` at the end. So the first path found is the most specific: a literal segment before
//! any, from the left; then more segments before fewer. The routes of that path alone decide, one
//! that lists the method before one that takes any: a method that none of them takes is refused, and
//! no broader path is asked, so no request is decided as something else than what its path is for.
//! The configuration's own routes and those of the preset compete by the same rule; two that tie are
//! refused when it is read ([`super::Shapes`]).
//!
//! There is one such tree for each host that routes name, and one for all other hosts, of the routes
//! that name none. The most specific host decides alone, as the path does: exactly this one, else the
//! nearest `*.` above it.

use std::borrow::Cow;

use super::host::{ByHost, Host, HostPattern, joined};
use super::osmo;
use super::path::Path;
use super::question::{ActionIdx, On, Question};
use super::template::{Preset, RouteSpec, Segment, Target};
use crate::model::{IndexVec, TooMany};
use crate::policy::{Action, is_literal};

/// What stands in `methods` for a WebSocket upgrade.
pub const WEBSOCKET: &str = "WEBSOCKET";

/// Where a route comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It is built in.
    Preset(Preset),
    /// The configuration's `gateway.route[n]`, from 1.
    Own(usize),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Preset(Preset::Osmo) => f.write_str("preset `osmo`"),
            Origin::Own(number) => write!(f, "gateway.route[{number}]"),
        }
    }
}

/// Every route of a configuration, the preset's first.
#[must_use]
pub fn configured(preset: Option<Preset>, own: &[RouteSpec]) -> Vec<(Origin, RouteSpec)> {
    let preset = preset.map_or_else(Vec::new, built_in);
    let own = (1usize..).zip(own).map(|(n, route)| (Origin::Own(n), route.clone()));
    preset.into_iter().chain(own).collect()
}

/// The routes of a preset.
#[must_use]
pub fn built_in(preset: Preset) -> Vec<(Origin, RouteSpec)> {
    let routes = match preset {
        Preset::Osmo => osmo::routes(),
    };
    routes.into_iter().map(|route| (Origin::Preset(preset), route)).collect()
}

/// A route, ready to be taken.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where it comes from.
    pub origin: Origin,
    /// As in the configuration: upper case; empty: any.
    pub methods: Vec<String>,
    /// The hosts that it is for; empty: those that no route names.
    pub hosts: Vec<HostPattern>,
    /// The template as written.
    pub path: String,
    /// What a request there does.
    pub action: Action,
    /// The action's place among [`Routes::actions`].
    pub index: ActionIdx,
    /// As in the configuration.
    pub target: Target,
    /// The target's resource in parts; empty without one.
    resource: Vec<Part>,
}

/// A part of a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    /// The segment of the path at this place, from 0; of one that no path has nothing.
    Segment(Option<usize>),
}

/// The routes of a configuration.
#[derive(Clone, Debug)]
pub struct Routes {
    /// The preset's first.
    routes: Vec<Route>,
    actions: IndexVec<ActionIdx, Action>,
    /// The first is [`ROOT`].
    nodes: Vec<Node>,
    /// The roots of the hosts that routes name.
    sites: ByHost<Site>,
}

/// The routes that a request's host leaves: the root of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site(usize);

/// That of every host that no route names.
const ROOT: Site = Site(0);

/// What follows the same segments. Numbers are places among the nodes and the routes.
#[derive(Clone, Default, Debug)]
struct Node {
    /// By exactly this segment, sorted.
    literals: Vec<(Box<str>, usize)>,
    /// By any segment.
    any: Option<usize>,
    /// Routes that end here.
    here: Vec<usize>,
    /// Routes that end in a `*` here: one segment or more.
    below: Vec<usize>,
}

/// The route that a request takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matched<'r> {
    /// The route.
    pub route: &'r Route,
    /// The resource with what the path told filled in; concrete. Absent where the route's target
    /// is none.
    pub resource: Option<Cow<'r, str>>,
}

/// Why a request takes no route. In words for the log and the answer's body; nothing of the request
/// is quoted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Which site is asked cannot be told.
    #[error("routes name hosts, and nothing tells the host of this request")]
    HostNotTold,
    /// A name in another script, of which there are several forms, that no route spells out.
    #[error("the host has an `xn--` label, and no route names exactly this host")]
    International,
    /// No route names the host, and every route names some.
    #[error("no route names this host")]
    NoHost,
    /// No route has such a path.
    #[error("no route names this path")]
    NoRoute,
    /// A slash at the end is one empty segment more, which no route has.
    #[error("the path ends in `/`, and no route does")]
    EndsInSlash,
    /// A segment with a `;`: to some servers what follows it is no part of the segment, so that
    /// they would serve another path than the one decided.
    #[error("a segment of the path holds a `;`, which servers read in different ways")]
    Parameters,
    /// The most specific path that fits has routes, but none of them takes the method.
    #[error("no route takes this method on this path; it takes {}", .takes.join(", "))]
    WrongMethod {
        /// The methods taken, sorted.
        takes: Vec<String>,
    },
    /// What the path tells makes no concrete resource.
    #[error(
        "the path tells no concrete resource for `{template}`: a `*` or white space is in its place"
    )]
    NotConcrete {
        /// The route's `resource` as written.
        template: String,
    },
}

impl PartialEq for Route {
    /// The same route of the same configuration.
    fn eq(&self, other: &Self) -> bool {
        self.origin == other.origin && self.path == other.path && self.methods == other.methods
    }
}

impl Eq for Route {}

impl std::fmt::Display for Route {
    /// `POST /api/pool/{pool}/workflow (preset `osmo`)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.methods.as_slice() {
            [] => f.write_str("any method")?,
            methods => f.write_str(&methods.join("|"))?,
        }
        write!(f, " {}{} ({})", joined(&self.hosts), self.path, self.origin)
    }
}

impl Route {
    fn new(
        origin: Origin,
        config: RouteSpec,
        actions: &mut IndexVec<ActionIdx, Action>,
    ) -> Result<Self, TooMany> {
        let RouteSpec { methods, hosts, path, segments, action, target } = config;
        let index = ActionIdx::of(&action, actions)?;
        let resource = match &target {
            Target::Resource(text) => parts(text, &segments),
            Target::Nothing | Target::Scope(_) => Vec::new(),
        };
        Ok(Route { origin, methods, hosts, path, action, index, target, resource })
    }

    /// Whether it lists a method.
    fn lists(&self, method: &str) -> bool {
        self.methods.iter().any(|own| own == method)
    }

    /// The resource of a request whose path fits.
    fn resource(&self, path: &Path<'_>) -> Result<Option<Cow<'_, str>>, Refused> {
        match self.resource.as_slice() {
            [] => return Ok(None),
            [Part::Text(text)] => return Ok(Some(Cow::Borrowed(text))),
            _ => {}
        }
        let mut resource = String::with_capacity(64);
        for part in &self.resource {
            match part {
                Part::Text(text) => resource.push_str(text),
                Part::Segment(place) => {
                    let told =
                        place.and_then(|place| path.segments().nth(place)).unwrap_or_default();
                    // The template itself was checked when it was read.
                    if told.is_empty() || !is_literal(told) {
                        let template = match &self.target {
                            Target::Resource(text) => text.clone(),
                            Target::Nothing | Target::Scope(_) => String::new(),
                        };
                        return Err(Refused::NotConcrete { template });
                    }
                    resource.push_str(told);
                }
            }
        }
        Ok(Some(Cow::Owned(resource)))
    }
}

/// A resource's text in parts. The configuration has refused a capture that the path does not have.
fn parts(text: &str, segments: &[Segment]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('{') {
        let Some((name, tail)) = tail.split_once('}') else { break };
        if !literal.is_empty() {
            parts.push(Part::Text(literal.to_owned()));
        }
        let captured = |segment: &Segment| matches!(segment, Segment::Capture(n) if n == name);
        // What no path has: such a route's requests are refused as not concrete.
        parts.push(Part::Segment(segments.iter().position(captured)));
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    parts
}

impl Routes {
    /// The table of these routes ([`configured`]).
    ///
    /// # Errors
    /// They name more actions than can be numbered.
    pub fn new(configured: Vec<(Origin, RouteSpec)>) -> Result<Self, TooMany> {
        let mut routes = Routes {
            routes: Vec::new(),
            actions: IndexVec::default(),
            nodes: vec![Node::default()],
            sites: ByHost::new(),
        };
        for (origin, config) in configured {
            routes.add(origin, config)?;
        }
        Ok(routes)
    }

    fn add(&mut self, origin: Origin, config: RouteSpec) -> Result<(), TooMany> {
        let number = self.routes.len();
        let below = config.segments.last() == Some(&Segment::Any);
        let single = config.segments.len() - usize::from(below);
        for Site(mut at) in self.roots(&config.hosts) {
            for segment in config.segments.iter().take(single) {
                at = self.child(at, segment);
            }
            if let Some(node) = self.nodes.get_mut(at) {
                if below { node.below.push(number) } else { node.here.push(number) }
            }
        }
        self.routes.push(Route::new(origin, config, &mut self.actions)?);
        Ok(())
    }

    /// The roots of a route with these hosts; made where there are none.
    fn roots(&mut self, hosts: &[HostPattern]) -> Vec<Site> {
        if hosts.is_empty() {
            return vec![ROOT];
        }
        let Routes { sites, nodes, .. } = self;
        let root = |host| {
            sites.entry(host, || {
                nodes.push(Node::default());
                Site(nodes.len().saturating_sub(1))
            })
        };
        hosts.iter().map(root).collect()
    }

    /// The node below `at` for a segment; made where there is none.
    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let fresh = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        let found = match segment {
            Segment::Literal(text) => {
                match node.literals.binary_search_by(|(own, _)| (**own).cmp(text.as_str())) {
                    Ok(place) => node.literals.get(place).map_or(fresh, |(_, child)| *child),
                    Err(place) => {
                        node.literals.insert(place, (text.as_str().into(), fresh));
                        fresh
                    }
                }
            }
            Segment::Capture(_) | Segment::Any => *node.any.get_or_insert(fresh),
        };
        if found == fresh {
            self.nodes.push(Node::default());
        }
        found
    }

    /// The actions that the routes name, each once.
    #[must_use]
    pub fn actions(&self) -> &IndexVec<ActionIdx, Action> {
        &self.actions
    }

    /// All routes, the preset's first.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Whether some route names a host: else no host decides anything.
    #[must_use]
    pub fn name_hosts(&self) -> bool {
        !self.sites.is_empty()
    }

    /// The routes that a request's host leaves: those of the most specific one that routes name,
    /// where one fits, else those of routes without hosts. `host` is absent where nothing tells it.
    ///
    /// # Errors
    /// Routes name hosts, and which of them this is cannot be told, or it is none of them and every
    /// route names some: the request is denied.
    pub fn site(&self, host: Option<&Host<'_>>) -> Result<Site, Refused> {
        if !self.name_hosts() {
            return Ok(ROOT);
        }
        let host = host.ok_or(Refused::HostNotTold)?;
        if let Some(site) = self.sites.exactly(host) {
            return Ok(site);
        }
        if host.is_international() {
            return Err(Refused::International);
        }
        match self.sites.below(host) {
            Some(site) => Ok(site),
            None if self.nodes.first().is_none_or(Node::is_empty) => Err(Refused::NoHost),
            None => Ok(ROOT),
        }
    }

    /// The route of a request: one of the most specific path that fits.
    ///
    /// - `site` is what its host leaves ([`Routes::site`]).
    /// - `method` is compared exactly (RFC 9110, section 9.1): case counts, and `HEAD` is not `GET`
    ///   but where a route lists it.
    /// - `websocket` says that the request is a WebSocket upgrade: it counts as the method
    ///   `WEBSOCKET` as well as its own, and a route that lists `WEBSOCKET` wins over one that lists
    ///   the own method.
    /// - A route that lists the method goes before one that takes any.
    ///
    /// # Errors
    /// No path fits, the path's routes take other methods, or the path tells no concrete resource:
    /// the request is denied.
    pub fn find<'r>(
        &'r self,
        site: Site,
        method: &str,
        websocket: bool,
        path: &Path<'_>,
    ) -> Result<Matched<'r>, Refused> {
        let routes = self.of_path(site, path)?;
        let upgrade = || websocket.then(|| self.upgrade(routes)).flatten();
        let Some(route) = upgrade().or_else(|| self.own(routes, method)) else {
            return Err(self.wrong_method(routes));
        };
        Ok(Matched { route, resource: route.resource(path)? })
    }

    /// The routes of a request that may be a WebSocket upgrade or not, as far as anybody can tell:
    /// that of its own method and that of `WEBSOCKET`, at least one. It is to be allowed as what
    /// each of them says.
    ///
    /// # Errors
    /// As [`Routes::find`].
    pub fn find_either<'r>(
        &'r self,
        site: Site,
        method: &str,
        path: &Path<'_>,
    ) -> Result<(Matched<'r>, Option<Matched<'r>>), Refused> {
        let routes = self.of_path(site, path)?;
        let matched = |route: &'r Route| Ok(Matched { route, resource: route.resource(path)? });
        match (self.own(routes, method), self.upgrade(routes)) {
            (Some(own), upgrade) => Ok((matched(own)?, upgrade.map(matched).transpose()?)),
            (None, Some(upgrade)) => Ok((matched(upgrade)?, None)),
            (None, None) => Err(self.wrong_method(routes)),
        }
    }

    /// The routes of the most specific path that fits.
    fn of_path(&self, Site(root): Site, path: &Path<'_>) -> Result<&[usize], Refused> {
        // No literal holds a `;` or is empty: only a capture or `*` could take such a segment.
        if path.has_parameters() {
            return Err(Refused::Parameters);
        }
        if path.ends_in_slash() {
            return Err(Refused::EndsInSlash);
        }
        self.walk(root, Some(path.text()).filter(|text| !text.is_empty())).ok_or(Refused::NoRoute)
    }

    /// The routes of the most specific path from the node `at` on, for the segments that are left.
    /// No node is visited twice: the tree has one way to each.
    fn walk(&self, at: usize, rest: Option<&str>) -> Option<&[usize]> {
        let node = self.nodes.get(at)?;
        let Some(rest) = rest else { return some(&node.here) };
        let (segment, after) = cut(rest);
        node.literal(segment)
            .and_then(|child| self.walk(child, after))
            .or_else(|| node.any.and_then(|child| self.walk(child, after)))
            .or_else(|| some(&node.below))
    }

    /// The one of a path's routes that takes an upgrade as such.
    fn upgrade<'r>(&'r self, routes: &'r [usize]) -> Option<&'r Route> {
        self.routes_of(routes).find(|route| route.lists(WEBSOCKET))
    }

    /// The one of a path's routes that takes a request by its own method: one that lists it, else
    /// one that takes any.
    fn own<'r>(&'r self, routes: &'r [usize], method: &str) -> Option<&'r Route> {
        let find = |takes: &dyn Fn(&Route) -> bool| self.routes_of(routes).find(|it| takes(it));
        // `WEBSOCKET` is nobody's own method: who sends it as one is no upgrade.
        find(&|route| method != WEBSOCKET && route.lists(method))
            .or_else(|| find(&|route| route.methods.is_empty() && !method.is_empty()))
    }

    /// What a path's routes take.
    fn wrong_method(&self, routes: &[usize]) -> Refused {
        let methods = self.routes_of(routes).flat_map(|route| match route.methods.as_slice() {
            [] => vec!["any".to_owned()],
            methods => methods.to_vec(),
        });
        let takes: std::collections::BTreeSet<String> = methods.collect();
        Refused::WrongMethod { takes: takes.into_iter().collect() }
    }

    fn routes_of<'r>(&'r self, routes: &'r [usize]) -> impl Iterator<Item = &'r Route> {
        routes.iter().filter_map(|number| self.routes.get(*number))
    }
}

/// The routes, where there are any.
fn some(routes: &[usize]) -> Option<&[usize]> {
    (!routes.is_empty()).then_some(routes)
}

/// The first segment and the rest. As `split_once`, but faster on texts as short as these.
fn cut(rest: &str) -> (&str, Option<&str>) {
    let slash = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
    match rest.split_at_checked(slash) {
        Some((segment, after)) => (segment, after.strip_prefix('/')),
        None => (rest, None),
    }
}

impl Node {
    /// Whether no route goes on or ends here.
    fn is_empty(&self) -> bool {
        let Node { literals, any, here, below } = self;
        literals.is_empty() && any.is_none() && here.is_empty() && below.is_empty()
    }

    /// The child for exactly this segment.
    fn literal(&self, segment: &str) -> Option<usize> {
        let place = self.literals.binary_search_by(|(own, _)| (**own).cmp(segment)).ok()?;
        self.literals.get(place).map(|(_, child)| *child)
    }
}

impl Matched<'_> {
    /// What the request asks.
    #[must_use]
    pub fn question(&self) -> Question<'_> {
        let on = match (&self.resource, &self.route.target) {
            (Some(resource), _) => On::Resource(resource),
            (None, Target::Scope(scope)) => On::SomeOf(scope),
            (None, Target::Nothing | Target::Resource(_)) => On::Nothing,
        };
        Question { action: self.route.index, on }
    }
}
