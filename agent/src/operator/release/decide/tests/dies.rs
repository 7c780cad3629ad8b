//! A version that served and dies soon after, and one that never could.

use super::*;

/// The second generation serves, and the first one did before.
fn second() -> Scene {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", true);
    scene.step();
    assert_eq!(scene.condition("Ready"), "True Serving");
    scene
}

#[test]
fn a_version_that_dies_within_its_first_minute_makes_way_for_the_one_before() {
    let mut scene = second();
    scene.now += SignedDuration::from_secs(30);
    scene.workload.pods[0].restarts = 1;
    scene.workload.pods[0].out_of_memory = Some("64Mi".to_owned());
    assert_eq!(scene.step(), "[status]");
    assert_eq!(target(&scene.status), Some("rev1"), "the one before is what shall run");
    assert_eq!(content_state(&scene.status, &scene.identity), ContentState::Failed);
    let failed = scene.status.failed.clone().unwrap();
    assert_eq!(failed.reason, "Crashed");
    assert!(failed.message.contains("64Mi (OOMKilled); raise resources.memoryLimit"), "{}", failed.message);
    scene.everything_is_there();
    scene.pods("rev1", true);
    scene.step();
    assert_eq!(
        (scene.condition("Ready"), scene.condition("RolledBack")),
        ("False Crashed".to_owned(), "True RolloutFailed".to_owned())
    );
    assert_eq!(
        scene.facts().last(),
        Some(&(FactKind::Ready, 2)),
        "the first outcome of a generation stays the one that was reported"
    );
}

#[test]
fn what_died_before_it_served_or_after_its_first_minute_stays() {
    let mut scene = second();
    scene.now += SignedDuration::from_secs(60);
    scene.workload.pods[0].restarts = 1;
    scene.step();
    assert_eq!(target(&scene.status), Some("rev2"));

    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", true);
    scene.workload.pods[0].restarts = 1;
    scene.step();
    scene.now += SignedDuration::from_secs(1);
    scene.step();
    assert_eq!(target(&scene.status), Some("rev2"), "its dependency was late, and it serves since");
}

#[test]
fn the_first_release_that_dies_stays_for_inspection() {
    let mut scene = Scene::serving();
    scene.crashes();
    scene.step();
    assert_eq!((target(&scene.status), scene.condition("Ready")), (Some("rev1"), "False CrashLoop".to_owned()));
}

#[test]
fn what_can_never_work_fails_once_and_what_served_serves_on() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.invalid = Some(Reason::new("Invalid", "the request is above its limit"));
    assert_eq!(scene.step(), "[status]");
    assert!(scene.facts().contains(&(FactKind::Failed, 2)), "{:?}", scene.facts());
    assert_eq!(
        (content_state(&scene.status, &scene.identity), target(&scene.status)),
        (ContentState::Failed, Some("rev1"))
    );
    scene.invalid = None;
    scene.step();
    assert_eq!((scene.condition("Failed"), scene.condition("Stalled")), ("True Invalid".to_owned(), "none".to_owned()));
    assert_eq!(scene.step(), "[]");
}
