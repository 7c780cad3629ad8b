//! A release becomes absent.

use super::*;

fn round(scene: &mut Scene, pods: usize, settles: Option<Duration>) -> String {
    let Scene { identity, status, paused, live, .. } = &*scene;
    let remains = Remains { identity, status, paused: *paused, waits: None, live, pods, settles };
    let decision = remove(&remains, scene.now);
    for write in &decision.writes {
        if let Write::Status(status) = write {
            scene.status = (**status).clone();
        }
    }
    format!("{:?}", decision.writes)
}

#[test]
fn an_absent_release_stops_its_pods_first_and_says_once_that_all_is_gone() {
    let mut scene = Scene::serving();
    scene.generation(2);
    let mut settles = Some(Duration::from_secs(9));
    scene.paused = Some("until tomorrow");
    assert_eq!(round(&mut scene, 1, settles), "[status]");
    scene.paused = None;
    assert_eq!(round(&mut scene, 1, settles), "[delete Deployment/web, status]");
    scene.live.remove(&reference(ObjectKind::Deployment, "web"));
    assert_eq!(round(&mut scene, 1, settles), "[]", "a pod still runs");
    let writes = round(&mut scene, 0, settles);
    assert!(writes.contains("delete ConfigMap/config-rev1") && writes.contains("delete Service/web-http"), "{writes}");
    scene.live.clear();
    round(&mut scene, 0, settles);
    assert_eq!(scene.condition("Ready"), "False Settling");
    assert_eq!(round(&mut scene, 0, settles), "[]", "a create may still come");
    settles = None;
    round(&mut scene, 0, settles);
    assert_eq!(scene.facts(), [(FactKind::Ready, 1), (FactKind::Deleted, 2)]);
    assert!(scene.status.objects.is_empty() && scene.status.bindings.is_empty());
    assert_eq!(round(&mut scene, 0, settles), "[]");
}

#[test]
fn a_rendering_whose_create_had_no_answer_is_waited_for_though_nothing_was_recorded() {
    let mut scene = Scene::new();
    let settles = Some(Duration::from_secs(9));
    round(&mut scene, 0, settles);
    assert_eq!(scene.condition("Ready"), "False Settling");
    let rendering = reference(ObjectKind::ControllerRevision, "web-h1");
    scene.live.insert(rendering.clone(), live());
    assert!(round(&mut scene, 0, settles).contains("delete ControllerRevision/web-h1"));
    scene.live.remove(&rendering);
    round(&mut scene, 0, None);
    assert_eq!(scene.condition("Ready"), "False Deleted");
    assert_eq!(round(&mut scene, 0, settles), "[]", "a new leader has nothing to wait for");
}

#[test]
fn a_removal_without_budget_touches_nothing_and_says_until_when() {
    let mut scene = Scene::serving();
    scene.generation(2);
    let waits = Reason::new("BudgetSpent", "it goes on by itself at noon");
    let Scene { identity, status, live, .. } = &scene;
    let remains = Remains { identity, status, paused: None, waits: Some(&waits), live, pods: 1, settles: None };
    let decision = remove(&remains, scene.now);
    let [Write::Status(said)] = decision.writes.as_slice() else { panic!("{:?}", decision.writes) };
    for (condition, status) in [("Ready", "False"), ("Stalled", "True")] {
        let found = said.conditions.iter().find(|found| found.condition_type == condition).unwrap();
        assert_eq!((found.status.as_str(), found.reason.as_str()), (status, "BudgetSpent"));
        assert_eq!(found.message, "it goes on by itself at noon");
    }
    assert_eq!(said.effective, status.effective, "what runs goes on");
}
