//! A component that prints lines without end.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::testbed::{ImageSpec, Testbed};

/// Pushes its image, a shell and what that is linked with, and returns it by digest. It never listens.
///
/// # Errors
/// The machine has no such shell, or the registry does not take the image.
pub async fn image(bed: &Testbed) -> Result<String> {
    let mut files = Vec::new();
    for file in ["/bin/dash", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"] {
        files
            .push((PathBuf::from(file).canonicalize().with_context(|| format!("{file} is missing"))?, file.to_owned()));
    }
    let line = "x".repeat(180);
    let script = format!("while :; do echo {line}; done");
    let spec =
        ImageSpec { files, entrypoint: vec!["/bin/dash".to_owned(), "-c".to_owned(), script], ..ImageSpec::default() };
    Ok(bed.push_image(&spec, "printer:1").await?)
}
