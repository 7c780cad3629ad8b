//! A person edits the stored spec: that content runs, the change is reported, and no second outcome.

use protocol::document::DocumentStamp;
use protocol::name::{Kind, ResourceKey};

use super::*;

impl Scene {
    /// The stored spec becomes `content`, under the same generation.
    fn edit(&mut self, content: &str) {
        let generation = self.identity.generation;
        let stamp = DocumentStamp { generation, hash: "0".repeat(64), provenance: None };
        let key = ResourceKey { kind: Kind::Release, name: "web".to_owned() };
        self.identity.modified = Modified::of(&key, Some(&stamp), None, &json!({ "image": content }));
        self.identity.content_hash = format!("h{content}");
        self.identity.revision = format!("rev{content}");
    }

    /// The edited content rolls out, and its pods serve or crash.
    fn rolls(&mut self, good: bool) {
        assert_eq!(content_state(&self.status, &self.identity), ContentState::New);
        self.admit();
        self.everything_is_there();
        let revision = self.identity.revision.clone();
        self.pods(&revision, good);
        if !good {
            self.crashes();
        }
        self.step();
        self.step();
    }
}

#[test]
fn an_edit_rolls_out_and_is_told_without_a_second_outcome() {
    let mut scene = Scene::serving();
    scene.edit("a");
    scene.rolls(true);
    assert_eq!((scene.condition("Ready").as_str(), target(&scene.status)), ("True Serving", Some("reva")));
    assert_eq!(scene.condition("Modified"), "True ChangedInCluster");
    assert_eq!(scene.facts(), [(FactKind::Ready, 1), (FactKind::Modified, 1)]);
    scene.edit("b");
    scene.rolls(false);
    assert_eq!(scene.condition("Failed"), "True CrashLoop", "the state says what became of it");
    assert_eq!(scene.facts(), [(FactKind::Ready, 1), (FactKind::Modified, 1)]);
    assert_eq!(scene.status.facts[1].count, Some(2));
    assert_eq!(target(&scene.status), Some("reva"));
    scene.everything_is_there();
    scene.pods("reva", true);
    scene.step();
    assert_eq!(scene.condition("RolledBack"), "True RolloutFailed");
    assert_eq!(scene.facts().len(), 2, "the failure was of no document, so the way back is neither");
    assert_eq!(scene.step(), "[]");
}

#[test]
fn an_edit_that_mends_a_failed_generation_serves_and_the_failure_stays_its_outcome() {
    let mut scene = Scene::serving();
    scene.generation(2);
    scene.rolls(false);
    scene.edit("c");
    scene.rolls(true);
    assert_eq!((scene.condition("Ready").as_str(), scene.condition("Failed").as_str()), ("True Serving", "none"));
    assert_eq!(scene.facts(), [(FactKind::Ready, 1), (FactKind::Failed, 2), (FactKind::Modified, 2)]);
    scene.generation(3);
    scene.identity.modified = None;
    scene.rolls(true);
    assert_eq!(scene.condition("Modified"), "none");
    assert_eq!(scene.facts().last(), Some(&(FactKind::Ready, 3)), "a new generation has an outcome of its own");
}

#[test]
fn what_a_webhook_did_to_an_absent_release_is_told_too() {
    let mut scene = Scene::new();
    scene.edit("x");
    let Scene { identity, status, live, .. } = &scene;
    let remains = Remains { identity, status, paused: None, waits: None, live, pods: 0, settles: None };
    let decision = remove(&remains, scene.now);
    let Some(Write::Status(status)) = decision.writes.last() else { panic!("a status is written") };
    let kinds: Vec<_> = status.facts.iter().map(|fact| fact.kind).collect();
    assert_eq!(kinds, [FactKind::Modified, FactKind::Deleted]);
}
