//! Whether a deployment has come to its end. Pure: it looks at what the control plane says and at nothing else.

use std::collections::BTreeMap;

use control_plane_model::{Deployment, ResourceStatus};

use super::table;
use super::wait::{End, Line, Snapshot};

/// Whether something shall run in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Present,
    Absent,
}

/// What is done, in words.
pub(super) fn title(made: &Deployment) -> String {
    let Deployment { component, environment, track, release, action, .. } = made;
    let what = match release {
        Some(number) => format!("{component} {track}/{number}"),
        None => format!("{component} {track}"),
    };
    match action.as_str() {
        "Undeploy" => format!("Undeploying {what} from {environment}"),
        "Restart" => format!("Restarting {what} in {environment}"),
        "Rollback" => format!("Rolling {component} in {environment} back to {track}/{}", release.unwrap_or_default()),
        "Promote" => format!("Promoting {what} to {environment}"),
        _ => format!("Deploying {what} to {environment}"),
    }
}

/// Whether a resource is the deployed one.
pub(super) fn is_of(made: &Deployment, row: &ResourceStatus) -> bool {
    row.kind == "Release" && row.component.as_ref() == Some(&made.component) && row.track.as_ref() == Some(&made.track)
}

/// Whether a deployment has come to its end, from the status of its resources.
///
/// It has when every data plane is done, or when one of them failed. A generation above the wanted one is the same wish sent
/// again, unless it is of another release or state.
pub(super) fn judge(made: &Deployment, expected: Expected, rows: &[ResourceStatus]) -> Snapshot {
    let mut places: BTreeMap<&str, (Option<&ResourceStatus>, i64)> =
        made.generations.iter().map(|(place, generation)| (place.as_str(), (None, *generation))).collect();
    let releases = rows.iter().filter(|row| is_of(made, row));
    for row in releases {
        // If nothing changed, no generations were drawn: every data plane is judged by its present one.
        places.entry(&row.data_plane).and_modify(|place| place.0 = Some(row)).or_insert((Some(row), row.generation));
    }
    let mut lines = Vec::new();
    let mut done = 0;
    let mut end = None;
    for (place, (row, generation)) in &places {
        let line = |phase: &str, message: &str| Line {
            place: (*place).to_owned(),
            phase: phase.into(),
            message: message.into(),
        };
        let overtaken = || {
            let message = format!("{}: overtaken: somebody asked for something else meanwhile", title(made));
            End::Failed(message, format!("pdpctl history {} --environment {}", made.component, made.environment))
        };
        // A resource has a row from the answer to the request until it is forgotten, so without one it is gone.
        let Some(row) = row else {
            lines.push(line("Removed", ""));
            match expected {
                Expected::Absent => done += 1,
                Expected::Present => end = Some(overtaken()),
            }
            continue;
        };
        lines.push(line(&row.phase, &row.message));
        let wanted = match expected {
            Expected::Present => row.desired == "Present" && (row.release == made.release || row.release.is_none()),
            Expected::Absent => row.desired == "Absent",
        };
        if row.generation > *generation && !wanted {
            end = Some(overtaken());
            continue;
        }
        if row.generation < *generation {
            continue;
        }
        match (row.phase.as_str(), expected) {
            ("Ready", Expected::Present) | ("Removed", Expected::Absent) => done += 1,
            ("Failed" | "Refused" | "RolledBack", _) => {
                let message = format!("{}: {} on {place}\n{}", title(made), row.phase, table::plain(&row.message));
                let hint = match row.phase.as_str() {
                    "Refused" => "correct what it names, then deploy again".to_owned(),
                    _ => format!(
                        "pdpctl logs {0} --environment {1} --failed; pdpctl status {0} --environment {1}",
                        made.component, made.environment
                    ),
                };
                end = end.or(Some(End::Failed(message, hint)));
            }
            _ => {}
        }
    }
    // An environment that is not ready is why its release is not.
    for row in rows.iter().filter(|row| row.kind == "Environment" && expected == Expected::Present) {
        let told = lines.iter().any(|line| line.place == row.data_plane && line.message == row.message);
        if !told && !["Ready", "Progressing"].contains(&row.phase.as_str()) {
            let place = format!("{} (environment)", row.data_plane);
            lines.push(Line { place, phase: row.phase.clone(), message: row.message.clone() });
        }
    }
    let all = done == places.len() && (!places.is_empty() || expected == Expected::Absent);
    Snapshot { lines, end: end.or_else(|| all.then_some(End::Done)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(planes: &[(&str, i64)]) -> Deployment {
        Deployment {
            id: 5,
            component: "httpbin".into(),
            environment: "dev".into(),
            track: "v1.0".into(),
            release: Some(3),
            action: "Deploy".into(),
            actor: None,
            reason: None,
            created: String::new(),
            generations: planes.iter().map(|(name, generation)| ((*name).to_owned(), *generation)).collect(),
            new_release: true,
            unchanged: planes.is_empty(),
            outcome: None,
            note: None,
        }
    }

    fn row(plane: &str, generation: i64, phase: &str) -> ResourceStatus {
        ResourceStatus {
            data_plane: plane.into(),
            connected: true,
            kind: "Release".into(),
            name: "r".into(),
            component: Some("httpbin".into()),
            track: Some("v1.0".into()),
            environment: Some("dev".into()),
            release: Some(3),
            desired: "Present".into(),
            generation,
            answer: None,
            state: None,
            facts: Vec::new(),
            phase: phase.into(),
            message: "words".into(),
        }
    }

    fn end(made: &Deployment, expected: Expected, rows: &[ResourceStatus]) -> Option<End> {
        judge(made, expected, rows).end
    }

    #[test]
    fn it_is_done_when_every_data_plane_is() {
        let made = made(&[("a", 7), ("b", 9)]);
        assert_eq!(end(&made, Expected::Present, &[row("a", 7, "Ready"), row("b", 9, "Progressing")]), None);
        assert_eq!(end(&made, Expected::Present, &[row("a", 7, "Ready"), row("b", 9, "Ready")]), Some(End::Done));
    }

    #[test]
    fn ready_at_an_older_generation_is_not_enough() {
        assert_eq!(end(&made(&[("a", 7)]), Expected::Present, &[row("a", 6, "Ready")]), None);
    }

    #[test]
    fn the_same_wish_under_a_newer_generation_counts() {
        assert_eq!(end(&made(&[("a", 7)]), Expected::Present, &[row("a", 8, "Ready")]), Some(End::Done));
    }

    #[test]
    fn another_release_meanwhile_ends_the_waiting() {
        let mut other = row("a", 8, "Ready");
        other.release = Some(4);
        let Some(End::Failed(message, _)) = end(&made(&[("a", 7)]), Expected::Present, &[other]) else {
            panic!("it goes on")
        };
        assert!(message.contains("overtaken"), "{message}");
    }

    #[test]
    fn being_undeployed_and_forgotten_meanwhile_ends_the_waiting() {
        let made = made(&[("a", 7), ("b", 9)]);
        let Some(End::Failed(message, _)) = end(&made, Expected::Present, &[row("a", 7, "Progressing")]) else {
            panic!("it goes on")
        };
        assert!(message.contains("overtaken"), "{message}");
    }

    #[test]
    fn each_bad_end_is_told_with_its_words() {
        for phase in ["Failed", "Refused", "RolledBack"] {
            let rows = [row("a", 7, "Progressing"), row("b", 9, phase)];
            let Some(End::Failed(message, hint)) = end(&made(&[("a", 7), ("b", 9)]), Expected::Present, &rows) else {
                panic!("{phase} goes on");
            };
            assert!(message.contains(phase) && message.contains("on b\nwords") && !hint.is_empty(), "{message}");
        }
    }

    #[test]
    fn nothing_changed_looks_at_what_is_there() {
        assert_eq!(end(&made(&[]), Expected::Present, &[row("a", 6, "Ready")]), Some(End::Done));
        assert_eq!(end(&made(&[]), Expected::Present, &[]), None);
    }

    #[test]
    fn what_is_gone_is_removed() {
        let mut removed = row("a", 7, "Removing");
        removed.desired = "Absent".into();
        assert_eq!(end(&made(&[("a", 7)]), Expected::Absent, &[removed.clone()]), None);
        removed.phase = "Removed".into();
        assert_eq!(end(&made(&[("a", 7)]), Expected::Absent, &[removed]), Some(End::Done));
        assert_eq!(end(&made(&[("a", 7)]), Expected::Absent, &[]), Some(End::Done));
    }

    #[test]
    fn an_environment_that_is_refused_is_shown() {
        let mut environment = row("a", 1, "Refused");
        environment.kind = "Environment".into();
        environment.component = None;
        environment.message = "the customer's policy forbids it".into();
        let Snapshot { lines, end } =
            judge(&made(&[("a", 7)]), Expected::Present, &[environment, row("a", 7, "Waiting")]);
        assert_eq!(end, None);
        assert_eq!(lines.last().map(|line| line.place.as_str()), Some("a (environment)"));
    }
}
