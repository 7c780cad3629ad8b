//! Files that are promises: compared with what the code makes, written anew with `UPDATE_GOLDEN=1`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a harness of tests")]

use std::path::{Path, PathBuf};

/// Cargo runs tests in their package's folder. (A path that was compiled in could be that of another checkout which shares the
/// target directory.)
pub(crate) fn folder(name: &str) -> PathBuf {
    name.into()
}

/// Compares `text` with the file, or writes it.
pub(crate) fn same(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        return;
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    if there != text {
        panic!("{} differs; if that is meant, run with UPDATE_GOLDEN=1\n is: {there}\nnow: {text}", path.display());
    }
}

/// No file in `folder` but these: one that nothing makes any more promises nothing.
pub(crate) fn only(folder: &Path, names: &[String]) {
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "{name} in {} is left over", folder.display());
    }
}
