use serde_json::{Value, json};

use crate::component::{API_VERSION, KIND, from_json};

const IMAGE: &str = "registry.test/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Fields and sentences of what is wrong with a file that has these members besides the needed ones.
fn said(more: &Value) -> Vec<String> {
    let mut file = json!({"apiVersion": API_VERSION, "kind": KIND, "name": "web", "type": "Service", "image": IMAGE});
    for (name, value) in more.as_object().unwrap() {
        file[name] = value.clone();
    }
    let problems = from_json(&file).err().unwrap_or_default();
    problems
        .into_iter()
        .map(|problem| format!("{} {} ({})", problem.field.unwrap(), problem.message, problem.hint.unwrap_or_default()))
        .collect()
}

#[test]
fn what_is_declared_without_a_value_is_good() {
    let file = json!({"env": [{"name": "A"}], "files": [{"path": "/a"}], "environments": {"dev": {"env": [{"name": "B", "value": ""}]}}});
    assert_eq!(said(&file), Vec::<String>::new());
}

#[test]
fn what_is_wrong_for_all_environments_is_said_once() {
    let wrong =
        json!({"resources": {"cpuLimit": "much"}, "environments": {"dev": {}, "prod": {"scaling": {"replicas": 1}}}});
    assert_eq!(
        said(&wrong),
        [
            "/resources/cpuLimit this is not an amount of Kubernetes: up to 15 digits and nine decimals, then a suffix (write something \
          like 500m for CPU, 128Mi for memory)"
        ]
    );
}

#[test]
fn what_is_wrong_in_one_environment_is_said_where_it_stands() {
    let file = json!({
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}, {"name": "C"}],
        "files": [{"path": "/etc/app", "content": ""}],
        "resources": {"memoryRequest": "1Gi"},
        "environments": {
            "dev": {
                // A takes the place of the first; D stands twice.
                "env": [{"name": "A", "value": "a\0"}, {"name": "D", "value": ""}, {"name": "D", "value": ""}],
                "files": [{"path": "/etc/app/x", "content": ""}],
                "resources": {"memoryLimit": "512Mi"},
            },
            "Prod": {"scaling": {"replicas": -1}},
        },
    });
    let said = said(&file);
    for start in [
        "/environments/dev/env/0/value has a NUL",
        "/environments/dev/env/2/name variable D stands twice (remove one)",
        "/environments/dev/files/0/path paths /etc/app and /etc/app/x: one is below the other",
        "/environments/dev/resources/memoryLimit memoryRequest is above memoryLimit",
        "/environments/Prod a name has 1 to 63 lower-case letters",
        "/environments/Prod/scaling/replicas must be from 0 to 1000",
    ] {
        assert!(said.iter().any(|one| one.starts_with(start)), "{start} is not in {said:#?}");
    }
    assert_eq!(said.len(), 6, "{said:#?}");
}

#[test]
fn an_image_is_led_to_its_digest() {
    let image = |image: &str| said(&json!({"image": image})).join("\n");
    assert!(image("r.test/web:1").contains("tag `1`"));
    assert!(image("r.test:5000/web").contains("has no digest"));
    assert!(image("r.test/web@sha256:01").contains("it has 2 of them"));
    let upper = IMAGE.replace("cdef", "CDEF");
    assert!(image(&upper).contains("in lower case; 16 of its characters are none"), "{}", image(&upper));
    assert!(image(&format!("https://{IMAGE}")).contains("without https://"));
    for one in ["r.test/web:1", "r.test/web@sha256:01"] {
        assert_eq!(image(one).lines().count(), 1, "{}", image(one));
    }
}
