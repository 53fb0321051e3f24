//! The files of the store: what they must be, and as whom they are touched.
//!
//! Whoever may write the store's folder can put anything under the names that are used there. So no
//! name is followed through a symbolic link, what is opened must be a regular file with one name,
//! and no file is given to another owner. And root works in somebody else's folder as its owner:
//! whatever lies there then, and whenever it came there, reaches no further than that owner.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::{getegid, geteuid, getgroups};
use rustix::thread::{
    CapabilitySet, capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::{fs::Gid, fs::Uid};

use super::error::{StoreError, StoreErrorKind, io};

/// What SQLite puts beside the store. It opens these itself, without following links.
const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Where a store is, and whose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct StorePath {
    /// The file: the folder without links, and the name in it.
    pub(super) real: PathBuf,
    /// As the configuration has it, for messages.
    pub(super) shown: PathBuf,
    owner: Option<Owner>,
}

/// Whose folder it is, where this process is root and the folder is not root's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Owner {
    uid: Uid,
    gid: Gid,
}

impl StorePath {
    /// Where the store at `path` is. The folder must exist: it is never made, since its rights are
    /// what keeps others out.
    ///
    /// # Errors
    /// The folder is missing or cannot be reached, or `path` names no file.
    pub(super) fn of(path: &Path) -> Result<StorePath, StoreError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let Some(name) = path.file_name() else { return Err(not_a_file(path)) };
        let missing = |what: &str| {
            let message = format!("the store's folder `{}` {what}", folder.display());
            StoreError::new(StoreErrorKind::NoFolder, message)
        };
        let look = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => missing("does not exist: create it, writable for this account"),
            ErrorKind::NotADirectory => missing("is not a folder"),
            _ => io("look at the store's folder", folder, &error),
        };
        // The folder is the one that the configuration names: links on the way there are an
        // administrator's.
        let real = fs::canonicalize(folder).map_err(look)?;
        let meta = fs::symlink_metadata(&real).map_err(look)?;
        if !meta.is_dir() {
            return Err(missing("is not a folder"));
        }
        let real = real.join(name);
        let owner = if may_harm() { foreign(&meta, &real) } else { None };
        Ok(StorePath { real, shown: path.to_owned(), owner })
    }

    /// As [`StorePath::of`]; `None` where there is no such folder, and so no store.
    ///
    /// # Errors
    /// The folder cannot be reached, or `path` names no file.
    pub(super) fn existing(path: &Path) -> Result<Option<StorePath>, StoreError> {
        match StorePath::of(path) {
            Err(error) if error.kind == StoreErrorKind::NoFolder => Ok(None),
            place => place.map(Some),
        }
    }

    /// The name with `suffix` added.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.real);
        name.push(suffix);
        PathBuf::from(name)
    }

    /// The store's file as it stands; `None`: there is none.
    ///
    /// # Errors
    /// It is a link or no regular file, or cannot be looked at.
    pub(super) fn file(&self) -> Result<Option<Metadata>, StoreError> {
        match fs::symlink_metadata(&self.real) {
            Ok(meta) if meta.is_symlink() => Err(StoreError::new(
                StoreErrorKind::NotOurs,
                format!(
                    "the store `{}` is a symbolic link, and none is followed: set `store.path` to \
                     the file itself",
                    self.shown.display()
                ),
            )),
            Ok(meta) if meta.is_file() => Ok(Some(meta)),
            Ok(_) => Err(not_a_file(&self.shown)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.whose(io("open the store", &self.shown, &error))),
        }
    }

    /// The size of a file beside the store; `None`: there is none.
    ///
    /// # Errors
    /// It is anything but a regular file with one name, or cannot be looked at.
    pub(super) fn side(&self, suffix: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.side_file(suffix)?.map(|meta| meta.len()))
    }

    /// As [`StorePath::side`], all that the file system says of it.
    pub(super) fn side_file(&self, suffix: &str) -> Result<Option<fs::Metadata>, StoreError> {
        let path = self.beside(suffix);
        match fs::symlink_metadata(&path) {
            Ok(meta) => regular(&path, &meta).map(|()| Some(meta)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.whose(io("look at", &path, &error))),
        }
    }

    /// Looks at everything that a writer would touch, before it does.
    ///
    /// # Errors
    /// Something there is a link, has several names, or is no regular file.
    pub(super) fn sound(&self) -> Result<(), StoreError> {
        if let Some(meta) = self.file()? {
            regular(&self.shown, &meta)?;
        }
        SIDES.iter().try_for_each(|suffix| self.side(suffix).map(drop))
    }

    /// Opens a file beside the store for reading and writing, without truncating it; makes it with
    /// `mode` where there is none.
    ///
    /// # Errors
    /// It is anything but a regular file with one name, or cannot be opened.
    pub(super) fn open_side(
        &self,
        suffix: &str,
        what: &str,
        mode: u32,
    ) -> Result<File, StoreError> {
        // Looked at first, since merely opening a pipe or a device can do something.
        self.side(suffix)?;
        let path = self.beside(suffix);
        let file = without_links(OpenOptions::new().read(true).write(true).create(true))
            .truncate(false)
            .mode(mode)
            .open(&path)
            .map_err(|error| self.whose(io(what, &path, &error)))?;
        // What lies there may have been changed in between.
        let meta = file.metadata().map_err(|error| io("look at", &path, &error))?;
        regular(&path, &meta)?;
        Ok(file)
    }

    /// Makes the store's empty file where there is none, with its mode whatever the umask.
    ///
    /// # Errors
    /// It cannot be made, or what is there is no file of its own.
    pub(super) fn make(&self, mode: u32) -> Result<(), StoreError> {
        let permit = |file: &File| {
            file.set_permissions(Permissions::from_mode(mode))
                .map_err(|error| self.whose(io("set the mode of", &self.shown, &error)))
        };
        let mut new = OpenOptions::new();
        match new.read(true).write(true).create_new(true).mode(mode).open(&self.real) {
            Ok(file) => permit(&file),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let Some(meta) = self.file()? else {
                    return Err(io("create the store", &self.shown, &error));
                };
                regular(&self.shown, &meta)?;
                // Still empty: its making was cut short, perhaps before it had its mode.
                if meta.len() == 0 && meta.mode() & 0o7777 != mode {
                    let file = without_links(OpenOptions::new().read(true).write(true))
                        .open(&self.real)
                        .map_err(|error| self.whose(io("open the store", &self.shown, &error)))?;
                    let meta =
                        file.metadata().map_err(|error| io("look at", &self.shown, &error))?;
                    regular(&self.shown, &meta)?;
                    permit(&file)?;
                }
                Ok(())
            }
            Err(error) => Err(self.whose(io("create the store", &self.shown, &error))),
        }
    }

    /// From now until the value is dropped this thread works as whoever the folder belongs to, where
    /// that is not who runs this. Inside of another one it does nothing.
    ///
    /// # Errors
    /// It may not: root without the rights to become somebody else.
    pub(super) fn act(&self) -> Result<Acting, StoreError> {
        let mut acting = Acting { back: None, thread: PhantomData };
        let Some(Owner { uid, gid }) = self.owner else { return Ok(acting) };
        if !geteuid().is_root() {
            return Ok(acting);
        }
        let become_owner = || -> rustix::io::Result<Back> {
            let back = Back { gid: getegid(), groups: getgroups()? };
            // In this order: who is not root any more can change no groups.
            set_thread_groups(&[gid])?;
            Ok(back)
        };
        let refused = |error: rustix::io::Errno| {
            let (uid, gid) = (uid.as_raw(), gid.as_raw());
            StoreError::new(
                StoreErrorKind::Denied,
                format!(
                    "the folder of the store `{}` belongs to uid {uid}, and root cannot work as \
                     that account here: {error}; run it as that account: `setpriv --reuid {uid} \
                     --regid {gid} --clear-groups idpsyncd …`",
                    self.shown.display()
                ),
            )
        };
        acting.back = Some(become_owner().map_err(refused)?);
        // From here on dropping `acting` leads back.
        set_thread_res_gid(None, gid, None).map_err(refused)?;
        set_thread_res_uid(None, uid, None).map_err(refused)?;
        Ok(acting)
    }

    /// Adds as whom something was denied, where that is not who runs this.
    pub(super) fn whose(&self, mut error: StoreError) -> StoreError {
        if let Some(Owner { uid, gid }) = self.owner
            && error.kind == StoreErrorKind::Denied
        {
            let (uid, gid) = (uid.as_raw(), gid.as_raw());
            error.message.push_str(&format!(
                " (root works on it as uid {uid}, gid {gid}, whose folder it is: what lies there \
                 must be that account's, and the folders above must let it through)"
            ));
        }
        error
    }
}

/// Whether this process could do more to other people's files than their rights let it: root, unless
/// it was stripped of the capabilities to do so, as in many containers.
fn may_harm() -> bool {
    let power = CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    // Where that cannot be known, root is root.
    geteuid().is_root() && capabilities(None).map_or(true, |sets| sets.effective.intersects(power))
}

/// Where root would work on what is somebody else's: the folder's owner; in a folder of root's that
/// others may write too, the owner of the store that one of them made.
fn foreign(folder: &Metadata, store: &Path) -> Option<Owner> {
    let owner =
        |meta: &Metadata| Owner { uid: Uid::from_raw(meta.uid()), gid: Gid::from_raw(meta.gid()) };
    if folder.uid() != 0 {
        return Some(owner(folder));
    }
    let store = fs::symlink_metadata(store).ok()?;
    (store.is_file() && store.uid() != 0).then(|| owner(&store))
}

/// A thread that works as somebody else, until this is dropped.
pub(super) struct Acting {
    back: Option<Back>,
    /// It is this thread that does, so it must be this one that leaves off.
    thread: PhantomData<*const ()>,
}

/// The way back to being root.
struct Back {
    gid: Gid,
    groups: Vec<Gid>,
}

impl Drop for Acting {
    fn drop(&mut self) {
        let Some(Back { gid, groups }) = &self.back else { return };
        let back = || -> rustix::io::Result<()> {
            // Being root comes first: the rest takes its rights.
            set_thread_res_uid(None, Uid::ROOT, None)?;
            set_thread_res_gid(None, *gid, None)?;
            set_thread_groups(groups)
        };
        // The thread keeps fewer rights than it had, never more.
        if let Err(error) = back() {
            tracing::error!("cannot work as root again: {error}");
        }
    }
}

/// Opens no link, waits for nobody at a pipe, and takes no terminal.
fn without_links(options: &mut OpenOptions) -> &mut OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed())
}

fn not_a_file(path: &Path) -> StoreError {
    StoreError::new(
        StoreErrorKind::NotOurs,
        format!("the store `{}` is not a file: set `store.path` to a file", path.display()),
    )
}

/// Insists on a regular file with one name.
fn regular(path: &Path, meta: &Metadata) -> Result<(), StoreError> {
    let kind = meta.file_type();
    let what = if kind.is_symlink() {
        "a symbolic link, and none is followed".to_owned()
    } else if kind.is_dir() {
        "a folder".to_owned()
    } else if kind.is_fifo() {
        "a pipe".to_owned()
    } else if kind.is_socket() {
        "a socket".to_owned()
    } else if !kind.is_file() {
        "a device".to_owned()
    } else if meta.nlink() > 1 {
        format!("one of {} names (hard links) of a file", meta.nlink())
    } else {
        return Ok(());
    };
    Err(StoreError::new(
        StoreErrorKind::NotOurs,
        format!(
            "cannot use `{}`: it is {what}; it was left alone, find out who put it there and move \
             it away: the store's files are regular files with one name",
            path.display()
        ),
    ))
}
