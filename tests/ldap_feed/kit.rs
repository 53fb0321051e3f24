//! A mirror that is fed, and what a full read would say of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use idpsyncd::directory::{Directory, Snapshot};
use idpsyncd::model::index::Place as _;
use idpsyncd::source::FullRead;
use idpsyncd::source::feed::{Feed, FeedEvent, FollowState, Following, Mark, Start, WhyFull};
use idpsyncd::source::ldap::{LdapConfig, LdapSource};
use tokio::runtime::Runtime;

use crate::support::fed_mirror::FedMirror;
use crate::support::ldap::{self, Wants};

/// What rules name of users.
pub fn wants() -> Wants {
    Wants(vec![("departmentNumber".to_owned(), "research".to_owned())])
}

/// Everything that a directory says, a line each.
pub fn facts(it: &Directory) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for user in &it.users {
        let [ext, name, email] = [user.ext, user.username, user.email].map(|text| it.text(text));
        facts.insert(format!(
            "user {name} {ext} {email} {:?} {} {:?}",
            user.enabled, user.email_verified, user.rid
        ));
    }
    for (place, row) in it.refs.iter().enumerate() {
        let [key, name, identity, norm] =
            [row.key, row.name, row.identity, row.norm].map(|text| it.text(text));
        let known = (row.known, row.implies_known);
        let (kind, rid) = (row.kind, row.rid);
        facts.insert(format!("ref {kind:?} {key} {name} {identity} {norm} {known:?} {rid:?}"));
        for user in &it.members[place] {
            let user = it.users[user.place()];
            facts.insert(format!(
                "member {identity} {} {}",
                it.text(user.username),
                it.text(user.ext)
            ));
        }
        for up in &it.implies[place] {
            facts.insert(format!("{identity} in {}", it.text(it.refs[up.place()].identity)));
        }
    }
    facts
}

/// A source that is followed into a mirror.
pub struct World {
    pub config: LdapConfig,
    pub mirror: FedMirror,
    pub following: Option<Box<dyn Following>>,
    /// How often everything was read, and why.
    pub reads: Vec<WhyFull>,
    /// How many deltas were applied, and whether the last moved the cursor.
    pub deltas: usize,
    pub moved: bool,
    marks: u32,
    /// The mirror after each.
    pub seen: Vec<Directory>,
    runtime: Runtime,
}

impl World {
    /// Reads everything and follows from there.
    pub fn new(config: LdapConfig) -> World {
        let mut world = World {
            config,
            mirror: FedMirror::default(),
            following: None,
            reads: Vec::new(),
            deltas: 0,
            moved: false,
            marks: 0,
            seen: Vec::new(),
            runtime: ldap::runtime(),
        };
        world.read();
        let start = world.follow();
        assert!(matches!(start, Start::Here(_)), "{start:?}");
        world.take(start);
        world
    }

    pub fn snapshot(&self) -> Snapshot {
        let source = LdapSource::new("corp", &self.config).unwrap();
        let wants = wants();
        let read = source.read(&wants, Arc::new(|_| {}));
        self.runtime.block_on(read).unwrap()
    }

    /// Where the feed stands.
    pub fn mark(&self) -> Mark {
        let source = LdapSource::new("corp", &self.config).unwrap();
        self.runtime.block_on(source.mark(&wants())).unwrap()
    }

    /// Reads everything, with a cursor from before.
    pub fn read(&mut self) {
        let Mark::At(cursor) = self.mark() else { panic!("{:?}", self.mark()) };
        let mut snapshot = self.snapshot();
        ldap::assert_complete(&snapshot);
        snapshot.cursor = Some(cursor);
        let mut mirror = self.mirror.0.lock().unwrap();
        *mirror = mirror.apply_snapshot(snapshot).mirror;
    }

    /// Asks to follow from the mirror's cursor.
    pub fn follow(&self) -> Start<'static> {
        // Followed to the end of the test.
        let source = Box::leak(Box::new(LdapSource::new("corp", &self.config).unwrap()));
        let wants = Box::leak(Box::new(wants()));
        let cursor = self.mirror.0.lock().unwrap().cursor.clone();
        let known = Arc::new(self.mirror.clone());
        self.runtime.block_on(source.follow(wants, cursor, known)).unwrap()
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
        self.read();
        match self.follow() {
            Start::Here(following) => self.following = Some(following),
            other => panic!("{other:?}"),
        }
    }

    /// Ends and begins again as a program does that was restarted: from what is stored.
    pub fn restart(&mut self) {
        self.following = None;
        let start = self.follow();
        self.take(start);
    }

    /// Waits so long for the next thing, and applies it. Whether there was one.
    pub fn next(&mut self, wait: Duration) -> bool {
        let following = self.following.as_mut().unwrap();
        let next = async { tokio::time::timeout(wait, following.next()).await };
        let Ok(told) = self.runtime.block_on(next) else { return false };
        match told.unwrap() {
            FeedEvent::Changed(delta) => {
                let mut mirror = self.mirror.0.lock().unwrap();
                let applied = mirror.clone().apply_delta(&delta);
                *mirror = applied.unwrap_or_else(|why| panic!("{why}: {delta:#?}")).mirror;
                self.seen.push(mirror.directory.clone());
                self.deltas += 1;
                self.moved = delta.step.is_some_and(|step| step.from != step.to);
            }
            FeedEvent::Read(why) => self.read_for(why),
            FeedEvent::Not(why) => panic!("{why}"),
        }
        true
    }

    /// Applies what comes until nothing has come for a while.
    pub fn settle(&mut self) {
        while self.next(Duration::from_millis(900)) {}
    }

    /// Applies what comes until everything before now has been told and nobody is unsettled: `mark`
    /// gives the person `mark` another address.
    pub fn settle_by(&mut self, mark: impl Fn(u32)) {
        loop {
            self.marks += 1;
            mark(self.marks);
            let there = format!(" {} Yes ", self.marks);
            let marked = |fact: &String| fact.starts_with("user mark ") && fact.contains(&there);
            self.until("the mark", |facts| facts.iter().any(marked));
            if self.moved || self.following.is_none() {
                return;
            }
            self.next(Duration::from_millis(300));
        }
    }

    /// What following begins with, in words, without a full read.
    pub fn what_comes_of_following(&mut self) -> String {
        let source = LdapSource::new("corp", &self.config).unwrap();
        let cursor = self.mirror.0.lock().unwrap().cursor.clone();
        let view = Arc::new(self.mirror.clone());
        self.runtime.block_on(async {
            let wants = wants();
            match source.follow(&wants, cursor, view).await {
                Ok(Start::Here(mut following)) => {
                    let next = tokio::time::timeout(Duration::from_secs(1), following.next()).await;
                    if let Ok(Ok(FeedEvent::Changed(delta))) = &next {
                        let mut mirror = self.mirror.0.lock().unwrap();
                        *mirror = mirror.clone().apply_delta(delta).unwrap().mirror;
                    }
                    format!("{next:?}")
                }
                other => format!("{other:?}"),
            }
        })
    }

    /// Applies what comes until `done`, for at most a minute: a server that was away is asked after five
    /// seconds at the latest, and may be slow to answer then.
    pub fn until(&mut self, what: &str, done: impl Fn(&BTreeSet<String>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(&self.facts()) {
            assert!(Instant::now() < deadline, "{what}: {:#?} {:?}", self.facts(), self.state());
            self.next(Duration::from_millis(200));
        }
    }

    pub fn facts(&self) -> BTreeSet<String> {
        facts(&self.mirror.0.lock().unwrap().directory)
    }

    pub fn state(&self) -> FollowState {
        self.following.as_ref().unwrap().state().borrow().clone()
    }

    /// Whether the mirror says that this user is in this group.
    pub fn is_in(&self, group: &str, user: &str) -> bool {
        is_in(&self.facts(), group, user)
    }

    /// What a full read finds that the feed did not tell.
    pub fn drift(&self) -> Vec<String> {
        let snapshot = self.snapshot();
        ldap::assert_complete(&snapshot);
        let mirror = self.mirror.0.lock().unwrap().clone();
        let before = facts(&mirror.directory);
        let after = facts(&mirror.apply_snapshot(snapshot).mirror.directory);
        let lost = after.difference(&before).map(|fact| format!("not told: {fact}"));
        let kept = before.difference(&after).map(|fact| format!("told for nothing: {fact}"));
        lost.chain(kept).collect()
    }

    pub fn assert_no_drift(&self) {
        let drift = self.drift();
        assert!(drift.is_empty(), "{drift:#?}\nreads: {:?}", self.reads);
    }

    /// So many rounds of random changes, followed while they are made and after restarts and outages of the
    /// server and of the follower: a full read after each finds nothing that was not told.
    pub fn shake<S: Shaken>(&mut self, seed: u64, rounds: u32, server: &mut S) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut made = 0;
        for round in 0..rounds {
            let outage = random.u8(0..6) == 0;
            let restart = random.u8(0..6) == 0;
            if restart {
                self.following = None;
            }
            let count = random.usize(1..S::MOST);
            made += count;
            let some: String = (0..count).map(|_| S::some(&mut random)).collect();
            std::thread::scope(|scope| {
                let (server, random) = (&*server, &mut random);
                let at_work = scope.spawn(move || server.attempt(&some, random));
                while !at_work.is_finished() && self.following.is_some() {
                    self.next(Duration::from_millis(5));
                }
            });
            if outage {
                server.goes_away_and_comes_back();
            }
            if restart {
                self.restart();
            }
            server.settle(self);
            let drift = self.drift();
            assert!(drift.is_empty(), "seed {seed}, round {round}: {drift:#?} {:?}", self.reads);
        }
        println!(
            "seed {seed}: {made} changes, {} deltas, full reads {:?}",
            self.deltas, self.reads
        );
    }
}

/// A server that is changed at random, and goes away now and then.
pub trait Shaken: Sync {
    /// Fewer changes than this are made before what was told of them is looked at.
    const MOST: usize;

    /// One change, sometimes two that belong together.
    fn some(random: &mut fastrand::Rng) -> String;

    /// Makes changes; what fails fails.
    fn attempt(&self, changes: &str, random: &mut fastrand::Rng);

    /// Is killed and started again.
    fn goes_away_and_comes_back(&mut self);

    /// Brings the world up to now.
    fn settle(&self, world: &mut World);
}

/// Whether these facts say that this user is in this group.
pub fn is_in(facts: &BTreeSet<String>, group: &str, user: &str) -> bool {
    facts.iter().any(|fact| fact.starts_with(&format!("member {group} {user} ")))
}

/// A change of an entry's attributes.
pub fn change(dn: &str, lines: &str) -> String {
    format!("dn: {dn}\nchangetype: modify\n{lines}\n")
}

/// The end of an entry.
pub fn delete(dn: &str) -> String {
    format!("dn: {dn}\nchangetype: delete\n\n")
}

/// Another name for an entry.
pub fn rename(dn: &str, rdn: &str) -> String {
    format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n\n")
}

/// A new entry.
pub fn add(entry: &str) -> String {
    entry.replacen('\n', "\nchangetype: add\n", 1)
}
