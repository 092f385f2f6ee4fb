//! Where the private PostgreSQL keeps its files, and whose they are.
//!
//! ```text
//! <data dir>/postgres/           ours; when we are root only root writes here, others may pass through
//!   server.lock                  held by the one chatgate that uses the directory; holds its process id
//!   postgres.lock                held by every process of PostgreSQL (it is their standard input)
//!   postgres.log, chatgate.conf  PostgreSQL's output; its settings, written at every start
//!   data/, run/                  PostgreSQL's own: the cluster and the socket, mode 0700
//! ```

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown, symlink},
    },
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::private::{StartError, failed};

/// The kernel takes 107 bytes for the path of a socket, and PostgreSQL adds a process id while it starts.
const MAX_SOCKET_PATH_BYTES: usize = 100;

/// A user that PostgreSQL runs as, because it refuses to run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
}

/// The directories of one private PostgreSQL.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub root: PathBuf,
    pub sockets: PathBuf,
    /// `None`: we are not root, and PostgreSQL runs as ourselves.
    pub owner: Option<Owner>,
}

impl Place {
    /// Makes the directories, all but `data`. As root, a place that PostgreSQL's user cannot reach is exchanged
    /// for one in `refuge`, and `<data dir>/postgres` becomes a link to it.
    pub fn prepare(data_dir: &Path, refuge: &Path) -> Result<Self, StartError> {
        let wanted = data_dir.join("postgres");
        let is_root = rustix::process::geteuid().is_root();
        make_directory(&wanted, if is_root { 0o755 } else { 0o700 })?;
        let mut root = wanted.canonicalize().map_err(failed("find", &wanted))?;
        let mut owner = if is_root { Some(owner_of_cluster(&root)?) } else { None };
        if let Some(user) = &owner
            && let Some(blocker) = first_unreachable(&root, user)
        {
            if root.join("data").exists() {
                return Err(StartError::Unreachable { blocker, user: user.name.clone() });
            }
            root = move_away(&wanted, &root, refuge)?;
            owner = Some(owner_of_cluster(&root)?);
        }
        let sockets = sockets_for(&root, owner.as_ref())?;
        Ok(Self { root, sockets, owner })
    }

    /// The cluster.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where `initdb` works; renamed to [`Place::data`] when it is whole.
    pub fn unfinished_data(&self) -> PathBuf {
        self.root.join("data.new")
    }

    /// PostgreSQL's output.
    pub fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// The settings that we give PostgreSQL.
    pub fn config(&self) -> PathBuf {
        self.root.join("chatgate.conf")
    }

    /// Makes a directory that only PostgreSQL may use.
    pub fn make_private(&self, path: &Path) -> Result<(), StartError> {
        make_private(path, self.owner.as_ref())
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), StartError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(failed("make", path))?;
    // Set afterwards, because the umask of a careful root would hide the directory from PostgreSQL.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("make", path))
}

/// Makes `path` with mode 0700, or checks that it is such a directory: in /tmp somebody else could have made it.
fn make_private(path: &Path, owner: Option<&Owner>) -> Result<(), StartError> {
    let us = rustix::process::geteuid().as_raw();
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("make", path)(error)),
    }
    let found = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    let wanted = owner.map_or(us, |it| it.uid);
    if !found.is_dir() || (found.uid() != wanted && found.uid() != us) || found.mode() & 0o077 != 0 {
        return Err(StartError::NotPrivate { path: path.to_owned() });
    }
    match owner {
        Some(owner) if found.uid() != owner.uid => {
            lchown(path, Some(owner.uid), Some(owner.gid)).map_err(failed("give away", path))
        }
        _ => Ok(()),
    }
}

/// Who runs PostgreSQL when we are root: whoever owns the cluster, else the usual user, else nobody.
fn owner_of_cluster(root: &Path) -> Result<Owner, StartError> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let data = root.join("data");
    match fs::metadata(&data) {
        Ok(found) if found.uid() == 0 => Err(StartError::OwnedByRoot { path: data }),
        Ok(found) => Ok(Owner { uid: found.uid(), gid: found.gid(), name: format!("user {}", found.uid()) }),
        Err(_) => ["postgres", "nobody"].iter().find_map(|it| user(&users, it)).ok_or(StartError::NoUser),
    }
}

/// Finds a user in the text of /etc/passwd.
fn user(users: &str, name: &str) -> Option<Owner> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (uid != 0).then(|| Owner { uid, gid, name: name.to_owned() })
}

/// The topmost directory on the way to `path` that `owner` may not pass through.
fn first_unreachable(path: &Path, owner: &Owner) -> Option<PathBuf> {
    let passes = |directory: &&Path| {
        let Ok(found) = fs::metadata(directory) else { return false };
        let bit = match () {
            () if found.uid() == owner.uid => 0o100,
            () if found.gid() == owner.gid => 0o010,
            () => 0o001,
        };
        found.mode() & bit != 0
    };
    let ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.into_iter().rev().find(|it| !passes(it)).map(Path::to_owned)
}

/// Replaces the empty directory `wanted` by a link to a place in `refuge`, named after it.
fn move_away(wanted: &Path, empty: &Path, refuge: &Path) -> Result<PathBuf, StartError> {
    let root = refuge.join(short_hash(empty));
    make_directory(refuge, 0o755)?;
    make_directory(&root, 0o755)?;
    if let Some(blocker) = first_unreachable(&root, &owner_of_cluster(&root)?) {
        return Err(StartError::Unreachable { blocker, user: "PostgreSQL's user".to_owned() });
    }
    fs::remove_dir(wanted).map_err(failed("replace", wanted))?;
    symlink(&root, wanted).map_err(failed("link", wanted))?;
    tracing::warn!(
        "PostgreSQL cannot run as root and its user cannot reach {}: the data is in {}",
        empty.display(),
        root.display()
    );
    Ok(root)
}

fn sockets_for(root: &Path, owner: Option<&Owner>) -> Result<PathBuf, StartError> {
    let near = root.join("run");
    let sockets = if near.join(".s.PGSQL.5432").as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
        near
    } else {
        let uid = owner.map_or_else(|| rustix::process::geteuid().as_raw(), |it| it.uid);
        Path::new("/tmp").join(format!("chatgate-{uid}-{}", short_hash(root)))
    };
    make_private(&sockets, owner)?;
    Ok(sockets)
}

fn short_hash(path: &Path) -> String {
    hex::encode(&Sha256::digest(path.as_os_str().as_bytes())[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_users() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(user(users, "postgres").map(|it| (it.uid, it.gid)), Some((101, 104)));
        assert_eq!(user(users, "root"), None);
        assert_eq!(user(users, "nobody"), None);
    }

    #[test]
    fn a_closed_directory_is_left_for_one_that_can_be_reached() {
        if !rustix::process::geteuid().is_root() {
            return; // everybody else runs PostgreSQL as himself
        }
        let scratch = std::env::temp_dir().join(format!("chatgate-place-{:x}", rand::random::<u64>()));
        let (closed, refuge) = (scratch.join("closed"), scratch.join("refuge"));
        fs::create_dir_all(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let place = Place::prepare(&closed.join("data"), &refuge).unwrap();
        assert!(place.root.starts_with(&refuge), "{place:?}");
        assert_eq!(closed.join("data/postgres").canonicalize().unwrap(), place.root);
        assert_eq!(fs::metadata(&place.sockets).unwrap().mode() & 0o777, 0o700);
        // The next start follows the link.
        assert_eq!(Place::prepare(&closed.join("data"), Path::new("/nonexistent")).unwrap().root, place.root);

        // Data that is there already stays where it is.
        fs::create_dir_all(closed.join("old/postgres/data")).unwrap();
        std::os::unix::fs::chown(closed.join("old/postgres/data"), Some(1), Some(1)).unwrap();
        let error = Place::prepare(&closed.join("old"), &refuge).unwrap_err();
        assert!(matches!(&error, StartError::Unreachable { blocker, .. } if *blocker == closed), "{error}");
        fs::remove_dir_all(&scratch).unwrap();
    }
}
