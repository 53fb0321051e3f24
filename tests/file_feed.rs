//! A file that is followed: read whole once it has changed and kept still, however it was changed.

#![cfg(test)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use idpsyncd::directory::{Cursor, Interest, Kind, OwnDomain, RefId};
use idpsyncd::source::Source as _;
use idpsyncd::source::feed::{Following, Mark, MirrorView, NoAnswer, Start, WhyFull};
use idpsyncd::source::file::{FileSource, RealmExportConfig};

struct Attributes(Vec<(String, String)>);

impl Interest for Attributes {
    fn reaches(&self, _: Kind, _: &str, _: &str, _: &str, _: &str, _: &[&str]) -> bool {
        true
    }
    fn attributes(&self) -> &[(String, String)] {
        &self.0
    }
}

/// A mirror that nobody asks.
struct Unasked;

impl MirrorView for Unasked {
    fn has_person(&self, _: &str) -> Result<bool, NoAnswer> {
        Err(NoAnswer::NoStore)
    }
    fn own_domain(&self) -> Result<OwnDomain<String>, NoAnswer> {
        Err(NoAnswer::NoStore)
    }
    fn has_ref(&self, _: &RefId) -> Result<bool, NoAnswer> {
        Err(NoAnswer::NoStore)
    }
    fn knows_members(&self, _: &RefId) -> Result<bool, NoAnswer> {
        Err(NoAnswer::NoStore)
    }
    fn within(&self, _: &str) -> Result<Vec<RefId>, NoAnswer> {
        Err(NoAnswer::NoStore)
    }
    fn leads_to(&self, _: &RefId) -> Result<Vec<RefId>, NoAnswer> {
        Err(NoAnswer::NoStore)
    }
    fn leading_to(&self, _: &RefId) -> Result<Vec<RefId>, NoAnswer> {
        Err(NoAnswer::NoStore)
    }
    fn everything(&self) -> Result<(Vec<String>, Vec<RefId>), NoAnswer> {
        Err(NoAnswer::NoStore)
    }
}

static NOBODY: Attributes = Attributes(Vec::new());

fn source(path: &Path) -> FileSource {
    let config = RealmExportConfig {
        path: path.to_owned(),
        realm: None,
        clients: Vec::new(),
        service_accounts: false,
    };
    FileSource::new("acme", &config).unwrap()
}

async fn mark(source: &FileSource) -> Cursor {
    match source.as_feed().unwrap().mark(&NOBODY).await.unwrap() {
        Mark::At(cursor) => cursor,
        Mark::Not(why) => panic!("{why}"),
    }
}

async fn follow(source: &FileSource, cursor: Cursor) -> Box<dyn Following + '_> {
    match source.as_feed().unwrap().follow(&NOBODY, Some(cursor), Arc::new(Unasked)).await.unwrap()
    {
        Start::Here(following) => following,
        other => panic!("{other:?}"),
    }
}

/// Waits until it has been looked at and nothing was different.
async fn still(following: &mut dyn Following) {
    let mut state = following.state();
    let asked = chrono::Utc::now();
    tokio::select! {
        event = following.next() => panic!("{event:?}"),
        state = state.wait_for(|it| it.current_at.is_some_and(|at| at > asked)) => drop(state.unwrap()),
    }
}

async fn changes(following: &mut dyn Following, how: &str) {
    changes_within(Duration::from_secs(60), following, how).await;
}

async fn changes_within(most: Duration, following: &mut dyn Following, how: &str) {
    let event = tokio::time::timeout(most, following.next()).await;
    let event = event.unwrap_or_else(|_| panic!("{how} was not noticed")).unwrap();
    let changed = idpsyncd::source::feed::FeedEvent::Read(WhyFull::Changed(String::new()));
    assert_eq!(
        std::mem::discriminant(&event),
        std::mem::discriminant(&changed),
        "{how}: {event:?}"
    );
}

/// A folder as Kubernetes mounts a ConfigMap: `realm.json` leads to `..data/realm.json`, and `..data` to
/// a folder that is made anew for each version.
fn mounted(folder: &Path) -> PathBuf {
    version(folder, "1");
    symlink("..data/realm.json", folder.join("realm.json")).unwrap();
    folder.join("realm.json")
}

fn version(folder: &Path, version: &str) {
    let new = folder.join(format!("..{version}"));
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("realm.json"), "{}").unwrap();
    symlink(format!("..{version}"), folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_file_that_is_changed_in_whatever_way_is_read_again() {
    type Change = fn(&Path, &Path);
    let ways: [(&str, Change); 5] = [
        ("a file in a folder", |folder, _| std::fs::write(folder.join("more.json"), "{}").unwrap()),
        ("writing", |_, path| std::fs::write(path, "[]").unwrap()),
        ("appending", |_, path| {
            use std::io::Write as _;
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(b" ").unwrap();
        }),
        ("another under its name", |folder, path| {
            std::fs::write(folder.join("new"), "{}").unwrap();
            std::fs::rename(folder.join("new"), path).unwrap();
        }),
        ("the folder behind a link", |folder, _| version(folder, "2")),
    ];
    for (how, change) in ways {
        let folder = tempfile::tempdir().unwrap();
        let path = mounted(folder.path());
        let whole = if how == "a file in a folder" { folder.path() } else { &path };
        let source = source(whole);
        let cursor = mark(&source).await;
        let mut following = follow(&source, cursor.clone()).await;
        still(&mut *following).await;
        // In the order that Kubernetes has, a link is never written through.
        let target = if how == "another under its name" {
            path.clone()
        } else {
            std::fs::canonicalize(&path).unwrap()
        };
        change(folder.path(), &target);
        changes(&mut *following, how).await;
        // What changed while nobody looked is noticed as well.
        changes(&mut *follow(&source, cursor).await, how).await;
        still(&mut *follow(&source, mark(&source).await).await).await;
    }
}

#[tokio::test]
async fn the_files_of_people_beside_an_export_count_as_it_does_whatever_it_is_called() {
    for name in ["acme-realm.json", "export.json"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, r#"{"realm": "acme"}"#).unwrap();
        std::fs::write(folder.path().join("acme-users-0.json"), "{}").unwrap();
        let source = source(&path);
        let mut following = follow(&source, mark(&source).await).await;
        std::fs::write(folder.path().join("acme-users.json"), "{}").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "{}").unwrap();
        still(&mut *following).await;
        std::fs::write(folder.path().join("acme-users-1.json"), "{}").unwrap();
        changes(&mut *following, "more people").await;
        let mut following = follow(&source, mark(&source).await).await;
        std::fs::write(folder.path().join("acme-users-0.json"), "[]").unwrap();
        changes(&mut *following, "other people").await;
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_waited_for_and_never_read_as_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = mounted(folder.path());
    let source = source(&path);
    let cursor = mark(&source).await;
    let mut following = follow(&source, cursor).await;
    std::fs::remove_file(std::fs::canonicalize(&path).unwrap()).unwrap();
    let mut state = following.state();
    tokio::select! {
        event = following.next() => panic!("{event:?}"),
        state = state.wait_for(|it| it.why.is_some()) => {
            assert!(state.unwrap().why.as_ref().unwrap().contains("realm.json"));
        }
    }
    let error = source.as_feed().unwrap().mark(&NOBODY).await.unwrap_err();
    assert!(error.transient, "{error}");
    version(folder.path(), "2");
    changes(&mut *following, "coming back").await;
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("realm.json");
    std::fs::write(&path, "{}").unwrap();
    let source = source(&path);
    let mut following = follow(&source, mark(&source).await).await;
    let writing = async {
        // For twice as long as it must be still, and never still for long.
        for n in 0..40 {
            std::fs::write(&path, " ".repeat(n + 3)).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        biased;
        event = following.next() => panic!("it was read half written: {event:?}"),
        () = writing => {}
    }
    changes(&mut *following, "the last of it").await;
}

#[tokio::test]
async fn other_settings_or_attributes_are_a_full_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = mounted(folder.path());
    let source = source(&path);
    let feed = source.as_feed().unwrap();
    let cursor = mark(&source).await;
    let other = Attributes(vec![("team".to_owned(), "ops".to_owned())]);
    let start = feed.follow(&other, Some(cursor), Arc::new(Unasked)).await.unwrap();
    assert!(matches!(start, Start::Read(WhyFull::Foreign(_))), "{start:?}");
    let start = feed.follow(&NOBODY, Some(Cursor::new("17")), Arc::new(Unasked)).await.unwrap();
    assert!(matches!(start, Start::Read(WhyFull::Unreadable)), "{start:?}");
}

#[tokio::test]
async fn a_file_that_somebody_writes_is_read_once_it_is_closed_however_slowly_that_goes() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("realm.json");
    std::fs::write(&path, "{}").unwrap();
    let source = source(&path);
    let mut following = follow(&source, mark(&source).await).await;
    still(&mut *following).await;
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"{").unwrap();
    tokio::select! {
        event = following.next() => panic!("it was read half written: {event:?}"),
        () = tokio::time::sleep(Duration::from_secs(4)) => {}
    }
    file.write_all(b"}").unwrap();
    drop(file);
    // Of one that nobody was seen to close it would be half a minute.
    changes_within(Duration::from_secs(20), &mut *following, "the end of it").await;
}

#[tokio::test]
async fn a_folder_that_is_gone_is_waited_for_and_so_is_what_comes_back_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (place, aside) = (folder.path().join("mnt"), folder.path().join("aside"));
    std::fs::create_dir(&place).unwrap();
    let path = mounted(&place);
    let source = source(&path);
    let cursor = mark(&source).await;
    let mut following = follow(&source, cursor).await;
    std::fs::rename(&place, &aside).unwrap();
    let mut state = following.state();
    tokio::select! {
        event = following.next() => panic!("{event:?}"),
        state = state.wait_for(|it| it.why.is_some()) => drop(state.unwrap()),
    }
    // The same that was read: there is nothing to be read again.
    std::fs::rename(&aside, &place).unwrap();
    still(&mut *following).await;
    assert_eq!(following.state().borrow().why, None);
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    mounted(&place);
    changes(&mut *following, "another folder").await;
}

#[tokio::test]
async fn a_read_of_the_schedules_is_left_to_the_feed_where_the_file_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("realm.json");
    std::fs::write(&path, "{}").unwrap();
    let source = source(&path);
    let feed = source.as_feed().unwrap();
    let cursor = mark(&source).await;
    assert!(feed.stays(&cursor).await.unwrap(), "as it was read");
    std::fs::write(&path, r#"{"realm":"#).unwrap();
    assert!(!feed.stays(&cursor).await.unwrap(), "changed");
    assert!(feed.stays(&mark(&source).await).await.unwrap(), "read since");
    assert!(feed.stays(&Cursor::new("17")).await.unwrap(), "a cursor of something else");
    // What is wrong is for the read to tell.
    std::fs::remove_file(&path).unwrap();
    assert!(feed.stays(&cursor).await.unwrap(), "gone");
}
