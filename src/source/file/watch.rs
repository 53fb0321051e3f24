//! Waking up when something happens at a path (inotify).
//!
//! A wake-up is a hint to look, and nothing more: what counts is what a look finds. Watched are the file
//! itself, or the folder whose files are read, for what is written there, and the folders in which its name
//! and the links on the way to it are looked up, for what is put there, renamed or taken away. So it does
//! not matter whether a file is written in place or replaced, or a link or a folder on the way is.
//!
//! Not everything can be seen: changes that another machine makes on a network's file system, what links in
//! a folder lead to, folders that may be passed through and not listed. So whoever waits looks now and then
//! all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::feed::may_hold_people;

/// What happens within so long is one wake-up: a file that is written all the time wakes nobody more often.
const GATHER: Duration = Duration::from_millis(100);
/// So many links on the way to a file are followed, as many as the kernel does.
const LINKS: usize = 40;
/// So many events are taken at once. What comes faster than that is worth a look whatever it is.
const EVENTS: usize = 10_000;

/// Names that are put into a folder, or leave it, and its own end.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(ITSELF);
/// What is written to a file, or to the files of a folder.
const CONTENT: WatchFlags =
    WatchFlags::MODIFY.union(WatchFlags::CLOSE_WRITE).union(WatchFlags::ATTRIB).union(ITSELF);
const ITSELF: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

/// Which names in a watched place matter.
#[derive(Clone, Debug)]
enum Names {
    All,
    /// These, and with `people` those of files that may hold people of an export.
    These {
        names: BTreeSet<OsString>,
        people: bool,
    },
}

impl Names {
    fn has(&self, name: &OsStr) -> bool {
        match self {
            Names::All => true,
            Names::These { names, people } => {
                names.contains(name) || *people && may_hold_people(name)
            }
        }
    }
}

/// What happens at a path.
pub(super) struct Watch {
    /// Absent where the kernel gives none.
    inotify: Option<AsyncFd<OwnedFd>>,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    /// What is watched, by the kernel's numbers.
    places: BTreeMap<i32, Names>,
    /// What somebody wrote to and has not closed, by place and name.
    open: BTreeSet<(i32, OsString)>,
}

impl Watch {
    /// Watches nothing yet. Must be called in a runtime.
    pub fn new() -> Self {
        let flags = CreateFlags::NONBLOCK.union(CreateFlags::CLOEXEC);
        let inotify = inotify::init(flags).map_err(io::Error::from);
        #[expect(
            deprecated,
            reason = "what takes its place is unsafe, for what is no owner of its descriptor; an \
                      `OwnedFd` keeps its own open until it is dropped, after the registration"
        )]
        let inotify = inotify.and_then(AsyncFd::new);
        let inotify = inotify.inspect_err(|why| tracing::debug!(%why, "no inotify"));
        Watch { inotify: inotify.ok(), seen: Seen::default() }
    }

    /// Watches what `path` leads to now, and with `beside` what may hold people in its folder. Whether what
    /// happens there is seen, but for what this module's page names. To be called before each look: what
    /// happens after the look wakes.
    pub fn arm(&mut self, path: &Path, beside: bool) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let Way { places, last } = way(path, beside);
        let mut numbers: BTreeMap<i32, Names> = BTreeMap::new();
        let mut is_seen = true;
        for (place, (flags, names)) in places {
            match inotify::add_watch(inotify, &place, flags) {
                Ok(number) => {
                    numbers.insert(number, names);
                }
                Err(_) => is_seen &= !last.contains(&place),
            }
        }
        for number in self.seen.places.keys().filter(|number| !numbers.contains_key(number)) {
            // It may be gone by itself.
            let _ = inotify::remove_watch(inotify, *number);
        }
        self.seen.open.retain(|(number, _)| numbers.contains_key(number));
        self.seen.places = numbers;
        is_seen
    }

    /// Whether somebody has written there and not closed it yet, as far as was seen.
    pub fn is_being_written(&self) -> bool {
        !self.seen.open.is_empty()
    }

    /// Waits until something happens, for at most `most`. Whether something did.
    pub async fn happens(&mut self, most: Duration) -> bool {
        let Watch { inotify: Some(inotify), seen } = self else {
            tokio::time::sleep(most).await;
            return false;
        };
        let happens = async {
            loop {
                let Ok(mut ready) = inotify.readable().await else {
                    return std::future::pending().await;
                };
                let woken = ready.try_io(|inotify| seen.take(inotify.get_ref()));
                // What concerns nobody may come as fast as it likes.
                tokio::time::sleep(GATHER).await;
                if let Ok(Ok(true)) = woken {
                    return;
                }
            }
        };
        tokio::time::timeout(most, happens).await.is_ok()
    }
}

impl Seen {
    /// Takes what has happened. Whether that is worth a look.
    ///
    /// # Errors
    /// Nothing has happened.
    fn take(&mut self, inotify: &OwnedFd) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        let mut woken = false;
        for count in 0..EVENTS {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(error) if count == 0 => return Err(error.into()),
                Err(_) => return Ok(woken),
            };
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            woken |= self.event(event.wd(), event.events(), name);
        }
        Ok(true)
    }

    fn event(&mut self, place: i32, what: ReadFlags, name: Option<&OsStr>) -> bool {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.open.clear();
            return true;
        }
        let Some(names) = self.places.get(&place) else { return false };
        if name.is_some_and(|name| !names.has(name)) {
            return false;
        }
        let which = (place, name.unwrap_or_default().to_owned());
        if what.contains(ReadFlags::IGNORED) {
            self.places.remove(&place);
            self.open.retain(|(number, _)| *number != place);
        } else if what.contains(ReadFlags::MODIFY) {
            self.open.insert(which);
        } else if what.intersects(ENDS) {
            self.open.remove(&which);
        }
        true
    }
}

/// What ends that a name is being written.
const ENDS: ReadFlags = ReadFlags::CLOSE_WRITE
    .union(ReadFlags::DELETE)
    .union(ReadFlags::MOVED_FROM)
    .union(ReadFlags::MOVED_TO);

/// What is to be watched on the way to a path.
#[derive(Default)]
struct Way {
    /// What for, and which names there matter.
    places: BTreeMap<PathBuf, (WatchFlags, Names)>,
    /// Those without which a change would not be seen.
    last: BTreeSet<PathBuf>,
}

impl Way {
    fn folder(&mut self, folder: &Path) -> &mut (WatchFlags, Names) {
        let nothing = || {
            let names = Names::These { names: BTreeSet::new(), people: false };
            (WatchFlags::empty(), names)
        };
        self.places.entry(folder.to_owned()).or_insert_with(nothing)
    }

    fn name(&mut self, folder: &Path, name: &OsStr) {
        let (flags, names) = self.folder(folder);
        *flags |= NAMES;
        if let Names::These { names, .. } = names {
            names.insert(name.to_owned());
        }
    }

    fn people(&mut self, folder: &Path) {
        let (flags, names) = self.folder(folder);
        *flags |= NAMES | CONTENT;
        if let Names::These { people, .. } = names {
            *people = true;
        }
        self.last.insert(folder.to_owned());
    }

    fn whole(&mut self, place: &Path, flags: WatchFlags) {
        let (before, _) = self.places.remove(place).unwrap_or((flags, Names::All));
        self.places.insert(place.to_owned(), (before | flags, Names::All));
        self.last.insert(place.to_owned());
    }
}

/// Goes the way to `path` as the kernel does, through every link, as far as there is one.
fn way(path: &Path, beside: bool) -> Way {
    let mut way = Way::default();
    let Ok(path) = std::path::absolute(path) else { return way };
    let mut left: VecDeque<OsString> = names(&path).collect();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    let folder = path.parent().filter(|_| beside).and_then(|folder| folder.canonicalize().ok());
    folder.into_iter().for_each(|folder| way.people(&folder));
    while let Some(name) = left.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        way.name(&here, &name);
        let next = here.join(&name);
        let is_last = left.is_empty();
        match std::fs::symlink_metadata(&next) {
            Ok(it) if it.is_symlink() && links < LINKS => {
                let Ok(target) = std::fs::read_link(&next) else { break };
                links += 1;
                if target.has_root() {
                    here = PathBuf::from("/");
                }
                for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    left.push_front(name);
                }
            }
            Ok(it) if is_last => {
                way.last.insert(here.clone());
                way.whole(&next, if it.is_dir() { NAMES | CONTENT } else { CONTENT });
                break;
            }
            Ok(it) if it.is_dir() => here = next,
            _ => {
                // What is not there is waited for in the folder where it is missing.
                way.last.insert(here.clone());
                break;
            }
        }
    }
    way
}

/// The names in a path; those that lead to where one is are left out.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// What happened so far is taken; whether it is worth a look.
    fn woken(watch: &mut Watch) -> bool {
        let Watch { inotify: Some(inotify), seen } = watch else { panic!("no inotify") };
        seen.take(inotify.get_ref()).unwrap_or(false)
    }

    /// A folder as Kubernetes mounts a ConfigMap.
    fn mounted(folder: &Path, version: &str) {
        let new = folder.join(format!("..{version}"));
        fs::create_dir(&new).unwrap();
        fs::write(new.join("realm.json"), "{}").unwrap();
        symlink(format!("..{version}"), folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    }

    #[tokio::test]
    async fn whatever_changes_what_a_path_leads_to_wakes_and_nothing_else_does() {
        type Change = fn(&Path);
        let ways: [(&str, Change); 11] = [
            ("written in place", |it| fs::write(it.join("..1/realm.json"), "[]").unwrap()),
            ("appended to", |it| {
                let path = it.join("mnt/realm.json");
                let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
                file.write_all(b" ").unwrap();
            }),
            ("cut off", |it| {
                let path = it.join("mnt/realm.json");
                fs::OpenOptions::new().write(true).truncate(true).open(path).map(drop).unwrap();
            }),
            ("replaced where the link leads", |it| {
                fs::write(it.join("new"), "[]").unwrap();
                fs::rename(it.join("new"), it.join("..1/realm.json")).unwrap();
            }),
            ("replaced by a file", |it| {
                fs::write(it.join("new"), "[]").unwrap();
                fs::rename(it.join("new"), it.join("realm.json")).unwrap();
            }),
            ("the folder behind the link", |it| mounted(it, "2")),
            ("the link on the way", |it| {
                symlink("elsewhere", it.join("tmp")).unwrap();
                fs::rename(it.join("tmp"), it.join("mnt")).unwrap();
            }),
            ("gone", |it| fs::remove_file(it.join("..1/realm.json")).unwrap()),
            ("its folder gone", |it| fs::remove_dir_all(it.join("..1")).unwrap()),
            ("its folder renamed", |it| fs::rename(it.join("..1"), it.join("..0")).unwrap()),
            ("its rights", |it| {
                use std::os::unix::fs::PermissionsExt as _;
                let rights = fs::Permissions::from_mode(0o600);
                fs::set_permissions(it.join("..1/realm.json"), rights).unwrap();
            }),
        ];
        for (how, change) in ways {
            let folder = tempfile::tempdir().unwrap();
            mounted(folder.path(), "1");
            symlink("..data/realm.json", folder.path().join("realm.json")).unwrap();
            symlink(".", folder.path().join("mnt")).unwrap();
            let mut watch = Watch::new();
            let path = folder.path().join("mnt/realm.json");
            assert!(watch.arm(&path, false));
            assert!(!woken(&mut watch), "{how}");
            fs::write(folder.path().join("other"), "{}").unwrap();
            fs::write(folder.path().join("..1/other"), "{}").unwrap();
            assert!(!woken(&mut watch), "{how}: something else");
            change(folder.path());
            assert!(woken(&mut watch), "{how}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_waited_for_wherever_it_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/realm.json");
        let mut watch = Watch::new();
        assert!(watch.arm(&path, false));
        fs::create_dir(folder.path().join("a")).unwrap();
        assert!(woken(&mut watch) && watch.arm(&path, false));
        fs::create_dir(folder.path().join("a/b")).unwrap();
        assert!(woken(&mut watch) && watch.arm(&path, false));
        fs::write(&path, "{}").unwrap();
        assert!(woken(&mut watch) && watch.arm(&path, false));
        // And once more, after all of it is gone.
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        assert!(woken(&mut watch) && watch.arm(&path, false));
        fs::create_dir(folder.path().join("a")).unwrap();
        assert!(woken(&mut watch) && watch.arm(&path, false));
        assert!(watch.seen.places.len() < 12, "nothing is left of what is gone");
    }

    #[tokio::test]
    async fn a_folders_files_count_and_so_do_those_beside_a_file_where_they_are_read_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let beside = folder.path().join("acme-users-0.json");
        fs::write(folder.path().join("acme-realm.json"), "{}").unwrap();
        fs::write(&beside, "{}").unwrap();
        let (mut whole, mut with, mut alone) = (Watch::new(), Watch::new(), Watch::new());
        assert!(whole.arm(folder.path(), false));
        assert!(with.arm(&folder.path().join("acme-realm.json"), true));
        assert!(alone.arm(&folder.path().join("acme-realm.json"), false));
        fs::write(&beside, "[]").unwrap();
        assert!(woken(&mut whole) && woken(&mut with) && !woken(&mut alone));
        fs::remove_file(&beside).unwrap();
        assert!(woken(&mut whole) && woken(&mut with) && !woken(&mut alone));
        // What holds nobody of it may stay open for as long as it likes.
        let mut log = fs::File::create(folder.path().join("export.log")).unwrap();
        log.write_all(b"exporting").unwrap();
        assert!(!woken(&mut with) && !with.is_being_written());
        let mut people = fs::File::create(&beside).unwrap();
        people.write_all(b"{").unwrap();
        assert!(woken(&mut with) && with.is_being_written());
    }

    #[tokio::test]
    async fn who_writes_is_known_until_the_file_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.ldif");
        fs::write(&path, "").unwrap();
        for place in [&path, folder.path()] {
            let mut watch = Watch::new();
            assert!(watch.arm(place, false));
            let mut file = fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
            file.write_all(b"dn: dc=x").unwrap();
            assert!(woken(&mut watch) && watch.arm(place, false) && watch.is_being_written());
            drop(file);
            assert!(woken(&mut watch) && !watch.is_being_written());
        }
        // Whoever has it open after another took its place is of no concern.
        let mut watch = Watch::new();
        assert!(watch.arm(&path, false));
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\n").unwrap();
        fs::write(folder.path().join("new"), "dn: dc=y\n").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(woken(&mut watch) && watch.arm(&path, false) && !watch.is_being_written());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_that_is_written_all_the_time_wakes_nobody_more_often_than_ten_times_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("realm.json");
        fs::write(&path, "{}").unwrap();
        let mut watch = Watch::new();
        assert!(watch.arm(&path, false));
        let began = std::time::Instant::now();
        let writes = path.clone();
        let enough = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let until = enough.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut count = 0_u32;
            while !until.load(std::sync::atomic::Ordering::SeqCst) {
                fs::write(&writes, "{}").unwrap();
                count += 1;
            }
            count
        });
        let mut woken = 0;
        while woken < 5 {
            woken += u32::from(watch.happens(Duration::from_secs(30)).await);
            assert!(watch.arm(&path, false));
        }
        let most = began.elapsed().as_millis() / GATHER.as_millis() + 1;
        assert!(u128::from(woken) <= most, "{woken} {most}");
        enough.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(writing.await.unwrap() > woken);
    }
}
