//! Lists, late watches, own writes.

use serde_json::json;

use super::*;

fn release(name: &str, version: u64, generation: i64) -> Value {
    json!({
        "metadata": { "name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string() },
        "spec": { "state": "Present", "document": { "generation": generation, "hash": "h" } },
    })
}

fn key(name: &str) -> ResourceKey {
    ResourceKey { kind: Kind::Release, name: name.into() }
}

fn generation(cache: &Cache, name: &str) -> Option<i64> {
    match cache.known(&key(name)) {
        Known::Watched(stored) => stored.and_then(|stored| stored.document.clone()).map(|stamp| stamp.generation),
        Known::Unknown => panic!("not listed"),
    }
}

fn list(cache: &mut Cache, table: Table, objects: Vec<Value>) -> Vec<News> {
    let mut news = cache.apply(table, Change::Begin);
    for object in objects {
        news.extend(cache.apply(table, Change::Found(object)));
    }
    news.extend(cache.apply(table, Change::Complete));
    news
}

#[test]
fn nothing_is_known_before_the_first_complete_list() {
    let mut cache = Cache::default();
    cache.apply(Table::Document(Kind::Release), Change::Begin);
    cache.apply(Table::Document(Kind::Release), Change::Found(release("a", 1, 1)));
    assert!(matches!(cache.known(&key("a")), Known::Unknown));
    cache.apply(Table::Document(Kind::Release), Change::Complete);
    assert_eq!(generation(&cache, "a"), Some(1));
    assert!(!cache.is_complete());
}

#[test]
fn what_a_new_list_does_not_name_is_gone() {
    let mut cache = Cache::default();
    list(&mut cache, Table::Document(Kind::Release), vec![release("a", 1, 1), release("b", 2, 2)]);
    let news = list(&mut cache, Table::Document(Kind::Release), vec![release("b", 2, 2)]);
    assert!(news.contains(&News::Removed(key("a"))));
    assert!(!news.contains(&News::Removed(key("b"))));
}

#[test]
fn a_late_watch_does_not_undo_an_own_write() {
    let mut cache = Cache::default();
    list(&mut cache, Table::Document(Kind::Release), vec![release("a", 1, 1)]);
    cache.observe(Table::Document(Kind::Release), &release("a", 5, 3));
    assert!(cache.apply(Table::Document(Kind::Release), Change::Applied(release("a", 3, 2))).is_empty());
    assert_eq!(generation(&cache, "a"), Some(3));
    assert_eq!(
        cache.apply(Table::Document(Kind::Release), Change::Deleted(release("a", 6, 3))),
        [News::Removed(key("a"))]
    );
}

#[test]
fn a_late_deletion_does_not_remove_what_was_made_again() {
    let mut cache = Cache::default();
    list(&mut cache, Table::Document(Kind::Release), vec![]);
    let mut again = release("a", 9, 9);
    again["metadata"]["uid"] = json!("another");
    cache.observe(Table::Document(Kind::Release), &again);
    assert!(cache.apply(Table::Document(Kind::Release), Change::Deleted(release("a", 6, 3))).is_empty());
    assert_eq!(generation(&cache, "a"), Some(9));
}

#[test]
fn the_policy_comes_goes_and_may_be_unreadable() {
    let policy = |spec: Value| json!({ "metadata": { "name": "default" }, "spec": spec });
    let good = policy(json!({ "registries": [], "logs": { "mode": "Disabled" } }));
    let mut cache = Cache::default();
    list(&mut cache, Table::DataPlanePolicy, vec![good.clone()]);
    assert!(matches!(*cache.policy(), Policy::Given(_)));
    cache.apply(Table::DataPlanePolicy, Change::Applied(policy(json!({ "colour": "red" }))));
    assert!(matches!(*cache.policy(), Policy::Missing { .. }));
    cache.apply(Table::DataPlanePolicy, Change::Applied(good.clone()));
    cache.apply(Table::DataPlanePolicy, Change::Deleted(good.clone()));
    assert!(matches!(*cache.policy(), Policy::Missing { .. }));
    list(&mut cache, Table::DataPlanePolicy, vec![good]);
    list(&mut cache, Table::DataPlanePolicy, vec![]);
    assert!(matches!(*cache.policy(), Policy::Missing { .. }));
}

#[test]
fn the_installation_and_its_floor_are_read() {
    let mut cache = Cache::default();
    let news = list(
        &mut cache,
        Table::Document(Kind::DataPlane),
        vec![json!({
            "metadata": { "name": "default", "resourceVersion": "1" },
            "spec": { "logLevel": "Debug" },
            "status": { "cluster": "c-1", "schema": 2, "floor": 7, "storeId": "s", "conditions": [] },
        })],
    );
    assert!(news.contains(&News::Floor(7)) && news.contains(&News::Installation));
    let expected = Installation {
        id: None,
        cluster: Some("c-1".into()),
        schema: Some(2),
        store_id: Some("s".into()),
        conditions: vec![],
        log_level: Some(LogLevel::Debug),
    };
    assert_eq!(cache.installation(), Some(&expected));
    assert_eq!(cache.raise_floor(3), None);
    assert_eq!(cache.floor(), 7);
}

#[test]
fn the_late_answer_to_an_own_write_does_not_bring_back_what_is_deleted() {
    let mut cache = Cache::default();
    list(&mut cache, Table::Document(Kind::Release), vec![release("a", 1, 1)]);
    cache.apply(Table::Document(Kind::Release), Change::Applied(release("a", 5, 3)));
    cache.apply(Table::Document(Kind::Release), Change::Deleted(release("a", 6, 3)));
    assert!(cache.observe(Table::Document(Kind::Release), &release("a", 5, 3)).is_empty());
    assert_eq!(generation(&cache, "a"), None);
    cache.observe(Table::Document(Kind::Release), &release("a", 7, 4));
    assert_eq!(generation(&cache, "a"), Some(4), "it was made again");
}
