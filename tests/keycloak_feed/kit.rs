//! A realm that is followed into a mirror, and what a full read would say of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use idpsyncd::directory::{Delta, Directory, Interest, RefId, Snapshot};
use idpsyncd::model::index::Place as _;
use idpsyncd::source::feed::{
    Feed as _, FeedEvent, FollowState, Following, Mark, NotFollowed, Start, WhyFull,
};
use idpsyncd::source::keycloak::{KeycloakConfig, KeycloakSource};
use idpsyncd::source::{FullRead as _, Source as _, SourceError};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::support::fed_mirror::{FedMirror, id_of};

/// Whose people were asked for. Of what rules can no longer come to a mirror keeps what it had, and a
/// full read forgets it.
fn asked(read: &Directory) -> BTreeSet<RefId> {
    let known = (0..read.refs.len()).filter(|place| read.refs[*place].known);
    known.map(|place| id_of(read, place)).collect()
}

/// Everything that a directory says, a line each; of people in groups and roles only where they are
/// `asked` for.
fn facts(it: &Directory, asked: &BTreeSet<RefId>) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for user in &it.users {
        let texts = [user.ext, user.username, user.email, user.federation];
        let [ext, name, email, federation] = texts.map(|text| it.text(text));
        let state = (user.enabled, user.email_verified, user.linkable);
        facts.insert(format!("user {name} {ext} `{email}` `{federation}` {state:?}"));
    }
    for (place, row) in it.refs.iter().enumerate() {
        let texts = [row.key, row.name, row.identity, row.norm];
        let [key, name, identity, norm] = texts.map(|text| it.text(text));
        let counts = asked.contains(&id_of(it, place));
        let known = (row.known && counts, row.implies_known);
        let parent = row.parent.map(|parent| it.text(it.refs[parent.place()].identity));
        facts.insert(format!(
            "ref {:?} {key} `{name}` {identity} {norm} {parent:?} {known:?}",
            row.kind
        ));
        for user in it.members[place].iter().filter(|_| counts) {
            let user = it.users[user.place()];
            facts.insert(format!("{} {key} has {}", row.kind.as_str(), it.text(user.username)));
        }
        for up in &it.implies[place] {
            facts.insert(format!("{key} leads to {}", it.text(it.refs[up.place()].key)));
        }
    }
    facts
}

/// A realm that is followed.
pub struct Followed {
    pub source: &'static KeycloakSource,
    pub interest: &'static dyn Interest,
    pub view: FedMirror,
    following: Option<Box<dyn Following>>,
    /// How often everything was read, and why.
    pub reads: Vec<WhyFull>,
    /// The deltas that were applied.
    pub deltas: Vec<Delta>,
    /// Why it is no longer followed.
    pub not: Option<NotFollowed>,
    pub runtime: Runtime,
}

impl Followed {
    /// Reads everything and follows from there.
    pub fn new(config: &KeycloakConfig, secret: &str, interest: &'static dyn Interest) -> Followed {
        let source = KeycloakSource::with_secret("kc", config, secret.to_owned().into()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut followed = Followed {
            source: Box::leak(Box::new(source)),
            interest,
            view: FedMirror::default(),
            following: None,
            reads: Vec::new(),
            deltas: Vec::new(),
            not: None,
            runtime,
        };
        followed.read();
        let start = followed.start();
        assert!(matches!(start, Start::Here(_)), "{start:?}");
        followed.take(start);
        followed
    }

    pub fn snapshot(&self) -> Snapshot {
        let read = self.source.read(self.interest, Arc::new(|_| {}));
        self.runtime.block_on(read).unwrap()
    }

    /// Where the feed stands.
    pub fn mark(&self) -> Mark {
        let feed = self.source.as_feed().unwrap();
        self.runtime.block_on(feed.mark(self.interest)).unwrap()
    }

    /// Reads everything, with a cursor from before.
    pub fn read(&mut self) {
        let Mark::At(cursor) = self.mark() else { panic!("{:?}", self.mark()) };
        let mut snapshot = self.snapshot();
        assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
        snapshot.cursor = Some(cursor);
        let mut mirror = self.view.0.lock().unwrap();
        *mirror = mirror.apply_snapshot(snapshot).mirror;
    }

    /// Asks to follow from the mirror's cursor.
    pub fn start(&self) -> Start<'static> {
        let cursor = self.view.0.lock().unwrap().cursor.clone();
        let view = Arc::new(self.view.clone());
        self.runtime.block_on(self.source.follow(self.interest, cursor, view)).unwrap()
    }

    /// Follows as `start` says; where that is a full read, after that.
    pub fn take(&mut self, start: Start<'static>) {
        match start {
            Start::Here(following) => self.following = Some(following),
            Start::Read(why) => self.read_for(why),
            Start::Not(why) => panic!("{why}"),
        }
    }

    fn read_for(&mut self, why: WhyFull) {
        self.following = None;
        self.reads.push(why);
        if let Mark::Not(not) = self.mark() {
            self.not = Some(not);
            return;
        }
        self.read();
        match self.start() {
            Start::Here(following) => self.following = Some(following),
            other => panic!("{other:?}"),
        }
    }

    /// Ends and begins again as a program does that was restarted: from what is stored.
    pub fn restart(&mut self) {
        self.following = None;
        let start = self.start();
        self.take(start);
    }

    /// Waits until the feed has come to everything that the server had acknowledged before this, and
    /// applies it.
    pub fn settle(&mut self) {
        let asked = chrono::Utc::now();
        while self.not.is_none() {
            let following = self.following.as_mut().unwrap();
            let mut state = following.state();
            let next = async {
                tokio::select! {
                    biased;
                    event = following.next() => Some(event),
                    () = current(&mut state, asked) => None,
                }
            };
            match self.runtime.block_on(next) {
                None => return,
                Some(event) => self.apply(event.unwrap()),
            }
        }
    }

    /// Goes on until the feed says why something stands in its way, and says it; fails once it has come to
    /// everything that the server had acknowledged before this.
    pub fn stuck(&mut self) -> String {
        let asked = chrono::Utc::now();
        loop {
            let following = self.following.as_mut().unwrap();
            let (mut state, mut is_current) = (following.state(), following.state());
            let next = async {
                tokio::select! {
                    biased;
                    event = following.next() => Err(event),
                    Ok(state) = state.wait_for(|state| state.why.is_some()) => Ok(state.why.clone()),
                    () = current(&mut is_current, asked) => Ok(None),
                }
            };
            match self.runtime.block_on(next) {
                Ok(why) => return why.expect("nothing stands in its way"),
                Err(event) => self.apply(event.unwrap()),
            }
        }
    }

    /// Goes on until the feed ends with an error.
    pub fn error(&mut self) -> SourceError {
        loop {
            let following = self.following.as_mut().unwrap();
            match self.runtime.block_on(following.next()) {
                Ok(event) => self.apply(event),
                Err(error) => return error,
            }
        }
    }

    /// Whether the mirror has a line with all of these parts.
    pub fn has(&self, parts: &[&str]) -> bool {
        let mirror = self.view.0.lock().unwrap();
        let facts = facts(&mirror.directory, &asked(&mirror.directory));
        facts.iter().any(|fact| parts.iter().all(|part| fact.contains(part)))
    }

    fn apply(&mut self, event: FeedEvent) {
        match event {
            FeedEvent::Changed(delta) => {
                let mut mirror = self.view.0.lock().unwrap();
                let applied = mirror.clone().apply_delta(&delta);
                *mirror = applied.unwrap_or_else(|why| panic!("{why}: {delta:?}")).mirror;
                drop(mirror);
                self.deltas.push(delta);
            }
            FeedEvent::Read(why) => self.read_for(why),
            FeedEvent::Not(why) => self.not = Some(why),
        }
    }

    /// Settles, and holds the mirror against a full read, row by row.
    pub fn assert_no_drift(&mut self, after: &str) {
        self.settle();
        let snapshot = self.snapshot();
        assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
        let mirror = self.view.0.lock().unwrap();
        let asked = asked(&snapshot.directory);
        let read = facts(&snapshot.directory, &asked);
        let fed = facts(&mirror.directory, &asked);
        let (missing, wrong): (Vec<_>, Vec<_>) =
            (read.difference(&fed).collect(), fed.difference(&read).collect());
        assert!(
            missing.is_empty() && wrong.is_empty(),
            "after {after}: not told {missing:#?}, told wrongly {wrong:#?}"
        );
    }
}

async fn current(state: &mut watch::Receiver<FollowState>, asked: idpsyncd::model::Time) {
    let is = |state: &FollowState| state.current_at.is_some_and(|at| at > asked);
    if state.wait_for(is).await.is_err() {
        std::future::pending::<()>().await;
    }
}
