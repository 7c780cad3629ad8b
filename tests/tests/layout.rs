//! How the house is built: no circle of imports, no import from a lower floor to a higher one, one door for the operator's writes, no file
//! too long to be read at once.
//!
//! Reads the checkout only. An import is what a `use` or a path names, resolved to its file. An import of a file's own parent does not
//! count: seen from outside, a folder and the files in it are one thing.

#![expect(clippy::panic, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const LONGEST: usize = 400;

/// A folder whose files stand on floors.
struct House {
    name: &'static str,
    /// Module path of the folder.
    within: &'static [&'static str],
    /// From the ground up: a module may import those of its own floor and below.
    floors: &'static [&'static [&'static str]],
}

/// Folders of the crates, and a number of imports that each of them has at least. The simulation is left out: its parts are methods of
/// one world, which holds the state of each of them.
const CRATES: [(&str, usize); 6] = [
    ("protocol", 40),
    ("agent", 40),
    ("control-plane-mock", 40),
    ("control-plane-mock/model", 5),
    ("control-plane-mock/pdpctl", 40),
    ("tests", 40),
];

const HOUSES: [House; 4] = [
    House {
        name: "agent",
        within: &[],
        floors: &[
            &["settings", "yaml"],
            &["kinds", "telemetry", "api"],
            &["policy", "secrets", "cli", "admin", "elector", "client", "supervisor"],
            &["operator", "logs"],
            &["link"],
            &["doctor"],
            &["start_gate"],
        ],
    },
    House {
        name: "agent",
        within: &["operator"],
        floors: &[
            &["clock", "object"],
            &["cluster", "context"],
            &["world"],
            &["reconcile"],
            &["environment", "installation"],
            &["release"],
            &["task_run"],
            &["lead"],
        ],
    },
    House {
        name: "agent",
        within: &["link"],
        floors: &[
            &["dial", "lanes", "logs", "metrics", "store"],
            &["identity", "intake"],
            &["enrol", "reporter", "status"],
            &["cache"],
            &["shell"],
        ],
    },
    House {
        name: "control-plane-mock",
        within: &[],
        floors: &[
            &["config", "faults", "record", "store", "supervisor"],
            &["desired"],
            &["domain"],
            &["gateway", "server", "shared", "web"],
            &["api"],
            &["router"],
            &["control_plane"],
        ],
    },
];

/// Methods of the operator's `Cluster` that write.
const WRITES: [&str; 6] = ["create", "apply", "delete", "merge", "merge_namespace", "replace_status"];

/// The door, and the files that write beside it, with the number of their calls. Why they do: docs/contributing.md, "A write".
const WRITERS: [(&str, usize); 4] = [
    ("operator::environment::adopt", 1),
    ("operator::installation", 2),
    ("operator::reconcile::apply", 5),
    ("operator::release::admission", 1),
];

/// A file of a crate, by its module path.
type Module = Vec<String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn rust_files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(below).unwrap_or_else(|error| panic!("{}: {error}", below.display()));
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true => found.extend(rust_files(&path)),
            false if path.extension().is_some_and(|kind| kind == "rs") => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of a crate by module path, without tests, binaries (crates of their own) and failpoints (never shipped).
fn modules(source: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    for path in rust_files(source) {
        let below = path.strip_prefix(source).unwrap_or(&path).with_extension("");
        let mut module: Module = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let is_test = module.iter().any(|part| part == "tests" || part.ends_with("_tests") || part == "fixture");
        if is_test || module.first().is_some_and(|first| ["bin", "main", "failpoints"].contains(&first.as_str())) {
            continue;
        }
        if module == ["lib"] || module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let text = read(&path);
        // What stands in a module of tests imports what it likes.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        found.insert(module, text.to_owned());
    }
    found
}

/// Paths that begin with `crate` or `super`, one for each leaf of a braced list.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in statements(text) {
        for start in ["crate::", "super::"] {
            for (at, _) in line.match_indices(start) {
                let (before, path) = line.split_at(at);
                let within = |c: char| c.is_alphanumeric() || c == ':' || c == '$' || c == '_';
                if !before.ends_with(within) {
                    leaves(path, &[], &mut found);
                }
            }
        }
    }
    found
}

/// Code without comments, each `use` in one line.
fn statements(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        let mut whole = open.take().unwrap_or_default() + line;
        let is_use =
            ["use ", "pub use ", "pub(super) use ", "pub(crate) use "].iter().any(|word| whole.starts_with(word));
        match is_use && !whole.ends_with(';') {
            true => {
                whole.push(' ');
                open = Some(whole);
            }
            false => lines.push(whole),
        }
    }
    lines
}

/// Adds all leaves of one path to `found`. Returns the text after it.
fn leaves<'a>(mut text: &'a str, before: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = before.to_vec();
    loop {
        text = text.trim_start();
        if let Some(inside) = text.strip_prefix('{') {
            text = inside;
            while !text.trim_start().starts_with('}') && !text.trim_start().is_empty() {
                text = leaves(text, &path, found).trim_start();
                text = text.strip_prefix(',').unwrap_or(text);
            }
            return text.trim_start().strip_prefix('}').unwrap_or_default();
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        if word.is_empty() {
            // A star, or nothing that is a path.
            found.push(path);
            let mut rest = rest.chars();
            rest.next();
            return rest.as_str();
        }
        path.push(word.to_owned());
        match rest.strip_prefix("::") {
            Some(rest) => text = rest,
            None => {
                found.push(path);
                return rest.trim_start().strip_prefix("as ").map_or(rest, |alias| {
                    alias.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                });
            }
        }
    }
}

/// The file that `path` in `from` leads to.
fn target(from: &Module, path: &[String], all: &BTreeMap<Module, String>) -> Option<Module> {
    let up = path.iter().take_while(|part| *part == "super").count();
    let base: Module = match up {
        0 => Vec::new(),
        up => from.iter().take(from.len().checked_sub(up)?).cloned().collect(),
    };
    let rest = path.iter().skip(up.max(1));
    let full: Module = base.into_iter().chain(rest.cloned()).collect();
    (0..=full.len())
        .rev()
        .map(|length| full.iter().take(length).cloned().collect())
        .find(|module| all.contains_key(module))
}

/// Who imports whom.
fn imports(all: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let of = |(from, text): (&Module, &String)| {
        let targets = paths(text).into_iter().filter_map(|path| target(from, &path, all));
        (from.clone(), targets.filter(|target| !from.starts_with(target)).collect())
    };
    all.iter().map(of).collect()
}

/// A way from `start` back to it.
fn circle(start: &Module, imports: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    let mut came: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut next = vec![start];
    while let Some(at) = next.pop() {
        for to in imports.get(at).into_iter().flatten() {
            if to == start {
                let mut way = vec![start.join("::"), at.join("::")];
                let mut back = at;
                while let Some(before) = came.get(back).filter(|_| back != start) {
                    way.push(before.join("::"));
                    back = before;
                }
                way.reverse();
                return Some(way);
            }
            if !came.contains_key(to) {
                came.insert(to, at);
                next.push(to);
            }
        }
    }
    None
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for (name, least) in CRATES {
        let imports = imports(&modules(&root().join(name).join("src")));
        let count = imports.values().map(BTreeSet::len).sum::<usize>();
        assert!(count >= least, "{name}: the imports are not found any more");
        let found: Vec<_> =
            imports.keys().filter_map(|start| circle(start, &imports)).map(|way| way.join(" -> ")).collect();
        assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    }
}

#[test]
fn no_file_imports_from_a_higher_floor() {
    for House { name, within, floors } in HOUSES {
        let floor = |module: &Module| {
            let (folder, below) = module.split_at_checked(within.len())?;
            let first = below.first().filter(|_| folder == within)?;
            floors.iter().position(|floor| floor.contains(&first.as_str()))
        };
        let imports = imports(&modules(&root().join(name).join("src")));
        let inside = |module: &&Module| module.len() > within.len() && module.starts_with(&owned(within));
        let homeless: Vec<_> = imports.keys().filter(inside).filter(|module| floor(module).is_none()).collect();
        assert!(homeless.is_empty(), "{name}: on no floor stand {homeless:?}");
        let arrows = imports.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from, to)));
        let arrows = arrows.filter_map(|(from, to)| Some((floor(from)?, floor(to)?, from, to)));
        let upwards = arrows.filter(|(from, to, ..)| from < to);
        let upwards: Vec<_> =
            upwards.map(|(_, _, from, to)| format!("{} -> {}", from.join("::"), to.join("::"))).collect();
        assert!(upwards.is_empty(), "{name}:\n{}", upwards.join("\n"));
    }
}

fn owned(path: &[&str]) -> Module {
    path.iter().map(|part| (*part).to_owned()).collect()
}

#[test]
fn the_operator_writes_through_one_door() {
    let all = modules(&root().join("agent/src"));
    let above = all.iter().filter(|(module, _)| {
        module.first().is_some_and(|first| first == "operator")
            && module.get(1).is_none_or(|second| second != "cluster")
    });
    let writes = above.map(|(module, text)| {
        let code: String = statements(text).concat().split_whitespace().collect();
        let calls = WRITES.iter().map(|method| code.matches(&format!("cluster.{method}(")).count());
        (module.join("::"), calls.sum::<usize>())
    });
    let found: Vec<_> = writes.filter(|(_, calls)| *calls > 0).collect();
    let known = WRITERS.map(|(module, calls)| (module.to_owned(), calls));
    assert_eq!(found, known, "a write goes through `reconcile::apply`; where it cannot, docs/contributing.md says why");
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    let long = ["protocol", "agent", "control-plane-mock", "tests"]
        .into_iter()
        .flat_map(|name| rust_files(&root().join(name)));
    let long = long.map(|path| (read(&path).lines().count(), path)).filter(|(lines, _)| *lines > LONGEST);
    let long: Vec<_> = long.map(|(lines, path)| format!("{lines} {}", path.display())).collect();
    assert!(long.is_empty(), "over {LONGEST} lines:\n{}", long.join("\n"));
}

#[test]
fn circles_and_upward_imports_would_be_seen() {
    let file = |text: &str| text.to_owned();
    let all: BTreeMap<Module, String> = [
        (vec!["a".to_owned()], file("use super::b::{self, c::{D, E as F}, *};\nfn f() { crate::g::h(); }")),
        (vec!["b".to_owned()], file("// use crate::a::X;\n")),
        (vec!["b".to_owned(), "c".to_owned()], file("use super::Own;\npub use crate::g::{\n    h,\n};")),
        (vec!["g".to_owned()], file("use crate::a::X;")),
    ]
    .into_iter()
    .collect();
    let imports = imports(&all);
    let of = |name: &str| {
        imports.get(&vec![name.to_owned()]).map(|to| to.iter().map(|to| to.join("::")).collect::<Vec<_>>())
    };
    assert_eq!(of("a").unwrap(), ["b", "b::c", "g"]);
    assert!(of("b").unwrap().is_empty(), "a comment imports nothing, and a child may name its parent");
    assert_eq!(circle(&vec!["a".to_owned()], &imports).unwrap(), ["a", "g", "a"]);
    assert_eq!(circle(&vec!["b".to_owned()], &imports), None);
}
