//! A component that prints lines without end: as fast as it can, or in bursts that leave the machine to others.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::testbed::{ImageSpec, Testbed};

/// How much is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As much as its share of CPU allows. What collects its lines takes five times that share.
    Restless,
    /// About 350 KiB, five times a second.
    Bursts,
}

/// Pushes its image, a shell and what that is linked with, and returns it by digest. It never listens.
///
/// # Errors
/// The machine has no such shell, or the registry does not take the image.
pub async fn image(bed: &Testbed, pace: Pace) -> Result<String> {
    let mut files = Vec::new();
    for file in ["/bin/dash", "/bin/sleep", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"] {
        files
            .push((PathBuf::from(file).canonicalize().with_context(|| format!("{file} is missing"))?, file.to_owned()));
    }
    let line = "x".repeat(180);
    let (tag, script) = match pace {
        Pace::Restless => ("printer:1", format!("while :; do echo {line}; done")),
        Pace::Bursts => {
            let burst = format!("i=0; while [ $i -lt 2000 ]; do echo {line}; i=$((i+1)); done");
            ("printer:2", format!("while :; do {burst}; sleep 0.2; done"))
        }
    };
    let spec =
        ImageSpec { files, entrypoint: vec!["/bin/dash".to_owned(), "-c".to_owned(), script], ..ImageSpec::default() };
    Ok(bed.push_image(&spec, tag).await?)
}
