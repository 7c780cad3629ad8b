//! What is wrong with a component file, all of it, with JSON pointers into the file.
//!
//! A file is valid if the documents made from it are: one for each environment that it names, one for all others. So the rules of
//! documents are applied to these, and the pointer of each error is translated back to its place in the file. Only what documents do not
//! have is checked here: names that become handles, and images without a digest, which get a hint how to find it.

use protocol::document::{EnvVar, ReleaseSpec, breaches, pattern};
use protocol::name::Kind;

use super::{Component, Configuration, kept};
use crate::problem::{Problem, check_display_name, check_handle};

/// Everything that is wrong with a component, with JSON pointers.
#[must_use]
pub fn check(component: &Component) -> Vec<Problem> {
    let mut found = Vec::new();
    found.extend(check_handle("/name", &component.name).err());
    found.extend(check_display_name("/displayName", component.display_name.as_deref()).err());
    found.extend(check_track("/track", component.track()).err());
    found.extend(check_image(&component.image).err());
    documents(component, "", &Configuration::default(), &mut found);
    for (name, configuration) in &component.environments {
        let at = format!("/environments/{}", name.replace('~', "~0").replace('/', "~1"));
        found.extend(check_handle(&at, name).err());
        documents(component, &at, configuration, &mut found);
    }
    found
}

/// Refuses what is not `vMAJOR.MINOR`.
///
/// # Errors
/// `Invalid` at `field`.
pub fn check_track(field: &str, track: &str) -> Result<(), Problem> {
    let (what, fix) = pattern::hint(pattern::TRACK);
    if pattern::matches(pattern::TRACK, track) { Ok(()) } else { Err(Problem::invalid(field, what).hint(fix)) }
}

/// Refuses an image by tag, or with a damaged digest, and says how to get a digest that can be used.
fn check_image(image: &str) -> Result<(), Problem> {
    let refuse = |sentence: String, hint: String| Err(Problem::invalid("/image", sentence).hint(hint));
    let Some((_, digest)) = image.split_once('@') else {
        // A colon after the last slash is a tag; one before it is a port.
        let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
        let sentence = match tag {
            Some(tag) => {
                format!("the image is named by tag `{tag}`, which may mean something else tomorrow; name it by digest")
            }
            None => "the image has no digest; without one it means whatever is newest".into(),
        };
        let hint = format!(
            "get the digest: skopeo inspect --format '{{{{.Name}}}}@{{{{.Digest}}}}' docker://{image}, or: crane digest {image}"
        );
        return refuse(sentence, hint);
    };
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let good = hex.chars().filter(|c| c.is_ascii_digit() || ('a'..='f').contains(c)).count();
    let rest = hex.chars().count() - good;
    if good == 64 && rest == 0 {
        return Ok(());
    }
    let sentence = match rest {
        0 => format!("the digest is not sha256: and 64 hexadecimal digits; it has {good} of them"),
        _ => format!(
            "the digest is not sha256: and 64 hexadecimal digits in lower case; {rest} of its characters are none"
        ),
    };
    refuse(sentence, "write the image as registry/repository@sha256:<64 hexadecimal digits>".into())
}

/// Checks the document for one configuration and adds each problem that is not reported yet.
fn documents(component: &Component, at: &str, configuration: &Configuration, found: &mut Vec<Problem>) {
    for breach in breaches(Kind::Release, &component.draft(configuration)) {
        let said = |field: &str| found.iter().any(|one| one.field.as_deref() == Some(field));
        let of_names = ["/owner/", "/environment"].iter().any(|start| breach.field.starts_with(start));
        if of_names || (breach.field == "/image" && said("/image")) {
            continue;
        }
        let for_all = Problem::of(breach.field.clone(), breach.clone());
        let problem = Problem { field: Some(origin(component, at, configuration, &breach.field)), ..for_all.clone() };
        // An error in the part for all environments shows up in every document, and is reported once.
        if !found.contains(&problem) && !found.contains(&for_all) {
            found.push(problem);
        }
    }
}

/// Place in the file from which `field` of the document comes. `at` is the pointer of the environment's section in the file.
fn origin(component: &Component, at: &str, configuration: &Configuration, field: &str) -> String {
    let Configuration { env, files, scaling, resources } = configuration;
    let (list, below) = field.trim_start_matches('/').split_once('/').unwrap_or((field.trim_start_matches('/'), ""));
    let here = || format!("{at}{field}");
    let there = || field.to_owned();
    let item = |kept: Vec<usize>, replaces: bool| {
        let (index, rest) =
            below.split_once('/').map_or((below, String::new()), |(index, rest)| (index, format!("/{rest}")));
        match index.parse::<usize>() {
            Ok(index) => match kept.get(index) {
                Some(index) => format!("/{list}/{index}{rest}"),
                None => format!("{at}/{list}/{}{rest}", index - kept.len()),
            },
            Err(_) if replaces => here(),
            Err(_) => there(),
        }
    };
    match list {
        "env" => item(kept(component.env.as_deref(), env.as_deref(), |one| &one.name), env.is_some()),
        "files" => item(kept(component.files.as_deref(), files.as_deref(), |one| &one.path), files.is_some()),
        "scaling" if scaling.is_some() => here(),
        "resources" if resources.is_some() => here(),
        _ => there(),
    }
}

impl Component {
    /// The document for one environment. Variables and files declared without a value are empty in it: they may get one elsewhere.
    fn draft(&self, configuration: &Configuration) -> ReleaseSpec {
        let mut body = self.merged(configuration, "environment", 1, None);
        for EnvVar { name: _, value, secret_ref } in body.env.iter_mut().flatten() {
            if secret_ref.is_none() {
                value.get_or_insert_default();
            }
        }
        for file in body.files.iter_mut().flatten().filter(|file| file.secret_ref.is_none()) {
            file.content.get_or_insert_default();
        }
        body
    }
}

#[cfg(test)]
mod tests;
