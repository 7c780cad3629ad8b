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

#[test]
fn the_last_lines_of_what_makes_way_are_waited_for_where_somebody_may_read_them() {
    for (name, before) in [("of a rollout", crashing()), ("in its first minute", dying())] {
        let mut scene = before;
        scene.last_lines = true;
        assert_eq!(scene.step(), "[status]", "{name}");
        assert!(scene.condition("Stopping").starts_with("True "), "{name}: {}", scene.condition("Stopping"));
        assert_eq!(
            (target(&scene.status), scene.status.failed.is_some()),
            (Some("rev2"), false),
            "{name}: it stays meanwhile"
        );
        let wake = scene.decide().wake;
        assert!(wake.is_some_and(|wake| wake <= Duration::from_millis(2100)), "{name}: {wake:?}");
        scene.now += SignedDuration::from_secs(1);
        assert_eq!(scene.step(), "[]", "{name}: an event in between changes nothing");
        scene.now += SignedDuration::from_secs(1);
        assert_eq!(scene.step(), "[status]", "{name}");
        assert_eq!((target(&scene.status), scene.condition("Stopping").as_str()), (Some("rev1"), "none"), "{name}");
    }
    // Its first minute may end while its last lines are read.
    let mut scene = dying();
    scene.last_lines = true;
    scene.now += SignedDuration::from_secs(29);
    scene.step();
    scene.now += SignedDuration::from_secs(3);
    scene.step();
    assert_eq!(target(&scene.status), Some("rev1"));
    // What never ran has said nothing.
    let mut scene = crashing();
    scene.last_lines = true;
    for pod in &mut scene.workload.pods {
        (pod.restarts, pod.terminated, pod.started) = (0, None, None);
    }
    scene.now += SignedDuration::from_secs(3600);
    scene.step();
    assert_eq!(target(&scene.status), Some("rev1"));
}

/// The second generation is rolled out, and its container ends again and again.
fn crashing() -> Scene {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.admit();
    scene.everything_is_there();
    scene.pods("rev2", false);
    scene.crashes();
    scene
}

/// The second generation served for half a minute, and a container of it has died.
fn dying() -> Scene {
    let mut scene = second();
    scene.now += SignedDuration::from_secs(30);
    scene.workload.pods[0].restarts = 1;
    scene
}
