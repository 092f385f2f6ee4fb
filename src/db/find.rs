//! Finds a PostgreSQL server on this machine: where to look, and which of the found ones to take.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The oldest PostgreSQL that the migrations are written for.
pub(super) const OLDEST_MAJOR: u32 = 15;

/// What the message of [`NotFound::Nothing`] names; the same places as [`usual_directories`].
const LOOKED_IN: &str = "$PATH, pg_config --bindir, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, \
    /usr/libexec/postgresql*, /usr/local/pgsql/bin, Homebrew, Postgres.app";

/// A PostgreSQL server that could be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The directory that holds `postgres` and `initdb`.
    pub bin: PathBuf,
    /// 15 for 15.18.
    pub major: u32,
    /// The full version, such as `15.18`.
    pub version: String,
}

/// Why no PostgreSQL could be chosen. The text is all that an operator gets to see, so it says what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotFound {
    /// No PostgreSQL at all, or only too old ones.
    #[error(
        "no DATABASE_URL is set and no PostgreSQL server ({OLDEST_MAJOR} or newer) was found on this machine.
  Debian/Ubuntu:  apt-get install -y --no-install-recommends postgresql
  Fedora/RHEL:    dnf install -y postgresql-server
  Alpine:         apk add postgresql16
  macOS:          brew install postgresql@17
then run the same command again (the packaged service need not run), or set DATABASE_URL=postgres://user:password@host/db
looked in: {looked_in}{too_old}"
    )]
    Nothing {
        /// The places.
        looked_in: String,
        /// Empty, or what was found there and cannot be used.
        too_old: String,
    },
    /// The data belongs to another major version.
    #[error(
        "the data was made by PostgreSQL {needed}, but this machine has only {found}: \
         install PostgreSQL {needed}, or move the data with pg_upgrade or a dump"
    )]
    AnotherMajor {
        /// The version that made the data.
        needed: u32,
        /// The versions found.
        found: String,
    },
}

/// The PostgreSQL to run: the newest, or for existing data the one of exactly that major version.
/// With `only`, looks in that directory and nowhere else.
pub(super) fn find(only: Option<&Path>, needed: Option<u32>) -> Result<Installation, NotFound> {
    match only {
        Some(bin) => choose(installed(vec![bin.to_owned()]), needed, &bin.display().to_string()),
        None => choose(installed(usual_directories()), needed, LOOKED_IN),
    }
}

fn choose(found: Vec<Installation>, needed: Option<u32>, looked_in: &str) -> Result<Installation, NotFound> {
    let (usable, too_old): (Vec<_>, Vec<_>) = found.into_iter().partition(|it| it.major >= OLDEST_MAJOR);
    let list = |of: &[Installation]| of.iter().map(|it| it.version.as_str()).collect::<Vec<_>>().join(", ");
    let Some(newest) = usable.iter().max_by_key(|it| it.major) else {
        let too_old = if too_old.is_empty() { String::new() } else { format!("\ntoo old: {}", list(&too_old)) };
        return Err(NotFound::Nothing { looked_in: looked_in.to_owned(), too_old });
    };
    match needed {
        None => Ok(newest.clone()),
        Some(needed) => usable
            .iter()
            .find(|it| it.major == needed)
            .cloned()
            .ok_or_else(|| NotFound::AnotherMajor { needed, found: list(&usable) }),
    }
}

/// Those of `directories` that hold a whole server (client packages bring `pg_config` without one), each once.
fn installed(directories: Vec<PathBuf>) -> Vec<Installation> {
    let mut seen = BTreeSet::new();
    directories
        .into_iter()
        .filter(|bin| bin.join("initdb").is_file())
        .filter_map(|bin| bin.join("postgres").canonicalize().ok()?.parent().map(Path::to_owned))
        .filter(|bin| seen.insert(bin.clone()))
        .filter_map(|bin| {
            let (major, version) = parse_version(&output_of(&bin.join("postgres"), "--version")?)?;
            Some(Installation { bin, major, version })
        })
        .collect()
}

fn usual_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> =
        env::var_os("PATH").map(|it| env::split_paths(&it).collect()).unwrap_or_default();
    directories.extend(output_of(Path::new("pg_config"), "--bindir").map(|it| PathBuf::from(it.trim())));
    directories.extend(children("/usr/lib/postgresql", "", "bin"));
    directories.extend(children("/usr", "pgsql-", "bin"));
    directories.extend(children("/usr/libexec", "postgresql", ""));
    directories.push("/usr/local/pgsql/bin".into());
    for homebrew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        directories.extend(children(homebrew, "postgresql", "bin"));
    }
    directories.extend(children("/Applications/Postgres.app/Contents/Versions", "", "bin"));
    directories
}

/// `parent/<prefix>*/<then>` for everything there is.
fn children(parent: &str, prefix: &str, then: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = entries.filter(|it| it.file_name().to_string_lossy().starts_with(prefix));
    named.map(|it| it.path().join(then)).collect()
}

fn output_of(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; betas look like `18beta1`.
fn parse_version(line: &str) -> Option<(u32, String)> {
    let version = line.split("(PostgreSQL) ").nth(1)?.split_whitespace().next()?;
    let digits = version.chars().take_while(char::is_ascii_digit).collect::<String>();
    Some((digits.parse().ok()?, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(versions: &[&str]) -> Vec<Installation> {
        let one = |it: &&str| {
            let (major, version) = parse_version(&format!("postgres (PostgreSQL) {it} (Some Distribution)\n")).unwrap();
            Installation { bin: format!("/pg/{it}/bin").into(), major, version }
        };
        versions.iter().map(one).collect()
    }

    #[track_caller]
    fn check(found: &[&str], needed: Option<u32>, expected: Result<&str, &str>) {
        let chosen = choose(of(found), needed, "here").map(|it| it.version).map_err(|it| it.to_string());
        match (&chosen, expected) {
            (Ok(version), Ok(expected)) => assert_eq!(version, expected),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            _ => panic!("{chosen:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn takes_the_newest_or_the_one_that_made_the_data() {
        check(&["15.18", "17.2", "14.0"], None, Ok("17.2"));
        check(&["15.18", "18beta1"], None, Ok("18beta1"));
        check(&["15.18", "17.2"], Some(15), Ok("15.18"));
        check(&["17.2"], Some(15), Err("made by PostgreSQL 15, but this machine has only 17.2"));
        check(&["14.9"], None, Err("too old: 14.9"));
        check(&[], None, Err("apt-get install -y --no-install-recommends postgresql"));
    }

    #[test]
    fn a_directory_without_a_server_is_nothing() {
        let error = find(Some(Path::new("/nonexistent")), None).unwrap_err();
        assert!(error.to_string().ends_with("looked in: /nonexistent"), "{error}");
    }
}
