//! A fixed number of pods, or an autoscaler with all that belongs to it.

use serde_json::{Value, json};

use super::{said, with};

#[test]
fn an_autoscaler_has_bounds_and_something_to_scale_by_and_no_fixed_number() {
    let of = |scaling: Value| said(&with("scaling", scaling));
    for good in
        [json!({}), json!({"replicas": 0}), json!({"max": 5, "cpu": 70}), json!({"min": 5, "max": 5, "memory": 80})]
    {
        assert_eq!(of(good.clone()), Vec::<String>::new(), "{good}");
    }
    for (scaling, expected) in [
        (json!({"replicas": 2, "max": 5, "cpu": 70}), "/scaling/replicas is a fixed number of pods"),
        (json!({"min": 6, "max": 5, "cpu": 70}), "/scaling/min 6 is above max, 5; lower min, or raise max"),
        (json!({"min": 2, "max": 5}), "/scaling/max an autoscaler has to know by what it scales; give cpu or memory"),
        (
            json!({"min": 2}),
            "/scaling/min belongs to an autoscaler, and only max asks for one; give max, or leave it out",
        ),
        (json!({"replicas": 2, "cpu": 70}), "/scaling/cpu belongs to an autoscaler"),
        (json!({"memory": 70}), "/scaling/memory belongs to an autoscaler"),
        (json!({"max": 5, "cpu": 0}), "/scaling/cpu must be from 1 to 1000"),
        (json!({"max": 1001, "cpu": 70}), "/scaling/max must be from 1 to 1000"),
    ] {
        let said = of(scaling.clone());
        assert!(said.len() == 1 && said[0].starts_with(expected), "{scaling}: {said:?}");
    }
}

#[test]
fn no_part_of_a_request_of_nothing_is_used() {
    let mut release = with("scaling", json!({"max": 5, "cpu": 70, "memory": 80}));
    release.resources = serde_json::from_value(json!({"cpuRequest": "0m", "memoryRequest": "64Mi"})).unwrap();
    let said = said(&release);
    assert!(said.len() == 1 && said[0].starts_with("/scaling/cpu is a part of what a pod requests"), "{said:?}");
}
