use super::*;

const GOOD: &str = "apiVersion: pdp-agent.dev/v1alpha1
kind: Component
name: httpbin
type: Service
image: registry.test/httpbin@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
env:
  - name: GREETING
    value: hello
  - name: API_KEY
    secretRef: { path: httpbin/api, key: token }
endpoints:
  - { name: http, port: 8080, kind: HTTP }
environments:
  dev:
    scaling: { replicas: 1 }
";

fn lines(text: &str) -> Vec<String> {
    from_yaml(text)
        .unwrap_err()
        .into_iter()
        .map(|Located { line, problem }| {
            let line = line.map_or_else(|| "-".into(), |line| line.to_string());
            format!("{line}: {} ({})", problem.message, problem.hint.unwrap_or_default())
        })
        .collect()
}

#[test]
fn a_good_file_is_read() {
    let component = from_yaml(GOOD).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(component.name, "httpbin");
    assert_eq!(component.environments["dev"].scaling.as_ref().unwrap().replicas, Some(1));
}

#[test]
fn all_unknown_keys_are_named_with_line_and_nearest() {
    let text =
        GOOD.replace("image:", "imgae:").replace("    value: hello", "    vaule: hello").replace("replicas", "replica");
    assert_eq!(
        lines(&text),
        [
            "5: unknown key `imgae` (did you mean `image`?)",
            "8: unknown key `vaule` (did you mean `value`?)",
            "15: unknown key `replica` (did you mean `replicas`?)"
        ]
    );
}

#[test]
fn an_image_by_tag_is_refused_with_the_way_to_its_digest() {
    let text =
        GOOD.replace("httpbin@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "httpbin:1.2");
    let found = lines(&text).join("\n");
    assert!(found.starts_with("5: ") && found.contains("tag `1.2`"), "{found}");
    assert!(found.contains("skopeo inspect") && found.contains("crane digest registry.test/httpbin:1.2"), "{found}");
}

#[test]
fn broken_yaml_has_a_line() {
    let found = lines(&GOOD.replace("env:\n", "env: [\n"));
    assert!(!found[0].starts_with('-'), "{found:?}");
}

#[test]
fn a_value_of_the_wrong_type_has_a_line() {
    let found = lines(&GOOD.replace("port: 8080", "port: http"));
    assert!(found[0].starts_with("12: "), "{found:?}");
}

#[test]
fn a_file_of_another_kind_says_what_to_write() {
    assert_eq!(
        lines(&GOOD.replace("Component", "Deployment")),
        ["2: kind is not known here (write `kind: Component`)"]
    );
}
