//! Notices when a person replaced the token or the CA bundle, so that whatever waits for that is retried at once.

use std::path::PathBuf;
use std::time::SystemTime;

/// Files and how they looked last. Looking costs one system call each; they are small files of a mounted Secret.
#[derive(Debug)]
pub(super) struct Files {
    files: Vec<(PathBuf, Look)>,
}

type Look = Option<(SystemTime, u64)>;

impl Files {
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: paths.into_iter().map(|path| (path.clone(), look(&path))).collect() }
    }

    /// Whether one of them has changed, come or gone since the last call.
    pub(super) fn changed(&mut self) -> bool {
        self.files.iter_mut().fold(false, |changed, (path, seen)| {
            let now = look(path);
            std::mem::replace(seen, now) != now || changed
        })
    }
}

fn look(path: &PathBuf) -> Look {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_comes_changes_or_goes_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let mut files = Files::new([path.clone()]);
        assert!(!files.changed());
        std::fs::write(&path, "a").unwrap();
        assert!(files.changed());
        assert!(!files.changed());
        std::fs::write(&path, "ab").unwrap();
        assert!(files.changed());
        std::fs::remove_file(&path).unwrap();
        assert!(files.changed());
        assert!(!files.changed());
    }
}
