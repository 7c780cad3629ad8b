//! An image with a shell, for components that do what no sample does. `command` names the script.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tokio::sync::OnceCell;

use crate::testbed::{ImageSpec, Testbed};

/// The shell and what it is linked with: files of the machine, and where they are in an image.
///
/// # Errors
/// The machine has no such shell.
pub fn files() -> Result<Vec<(PathBuf, String)>> {
    ["/bin/dash", "/bin/sleep", "/bin/cat", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"]
        .into_iter()
        .map(|file| {
            let found = PathBuf::from(file).canonicalize().with_context(|| format!("{file} is missing"))?;
            Ok((found, file.to_owned()))
        })
        .collect()
}

/// Pushes the image, once for each program, and returns it by digest. Its argument is a script.
///
/// # Errors
/// The machine has no such shell, or the registry does not take the image.
pub async fn image(bed: &Testbed) -> Result<String> {
    static PUSHED: OnceCell<String> = OnceCell::const_new();
    let pushed = PUSHED.get_or_try_init(|| push(bed)).await?;
    Ok(pushed.clone())
}

async fn push(bed: &Testbed) -> Result<String> {
    let entrypoint = vec!["/bin/dash".to_owned(), "-c".to_owned()];
    Ok(bed.push_image(&ImageSpec { files: files()?, entrypoint, ..ImageSpec::default() }, "shell:1").await?)
}
