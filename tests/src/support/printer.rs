//! A component that prints lines without end: as fast as it can, or in bursts that leave the machine to others.

use anyhow::Result;

use super::shell;
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
    let line = "x".repeat(180);
    let (tag, script) = match pace {
        Pace::Restless => ("printer:1", format!("while :; do echo {line}; done")),
        Pace::Bursts => {
            let burst = format!("i=0; while [ $i -lt 2000 ]; do echo {line}; i=$((i+1)); done");
            ("printer:2", format!("while :; do {burst}; sleep 0.2; done"))
        }
    };
    let spec = ImageSpec {
        files: shell::files()?,
        entrypoint: vec!["/bin/dash".to_owned(), "-c".to_owned(), script],
        ..ImageSpec::default()
    };
    Ok(bed.push_image(&spec, tag).await?)
}
