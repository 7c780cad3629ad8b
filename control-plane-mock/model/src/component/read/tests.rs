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
fn a_file_beside_is_read_as_text_or_as_base64_and_must_lie_beside() {
    let text = format!(
        "{GOOD}    files:\n    - {{ path: /etc/own.conf, contentFrom: own.conf }}\nfiles:\n- {{ path: /logo.png, contentFrom: img/logo.png }}\n\
         - {{ path: /nul, contentFrom: nul }}\n"
    );
    let read = |name: &str| match name {
        "own.conf" => Ok(b"a: 1\r\n".to_vec()),
        "img/logo.png" => Ok(vec![0x89, b'P', b'N', b'G']),
        "nul" => Ok(b"a\0".to_vec()),
        other => Err(format!("{other} cannot be read: there is none")),
    };
    let component = from_yaml_beside(&text, &[], &read).unwrap_or_else(|problems| panic!("{problems:?}"));
    let contents = |files: Option<Vec<protocol::document::ConfigFile>>| -> Vec<_> {
        files.unwrap().into_iter().map(|file| (file.content.unwrap(), file.encoding.is_some())).collect()
    };
    assert_eq!(contents(component.files), [("iVBORw==".to_owned(), true), ("YQA=".to_owned(), true)]);
    let own = component.environments["dev"].files.clone();
    assert_eq!(contents(own), [("a: 1\r\n".to_owned(), false)], "byte by byte");
    for (path, words) in [
        ("missing", "missing cannot be read: there is none"),
        ("../secret", "does not lie beside"),
        ("/etc/passwd", "does not lie beside"),
        ("x, content: y", "contentFrom and content stand together"),
    ] {
        let text = format!("{GOOD}files:\n- {{ path: /a, contentFrom: {path} }}\n");
        let found = from_yaml_beside(&text, &[], &read).unwrap_err();
        assert!(found[0].problem.message.contains(words) && found[0].line.is_some(), "{path}: {found:?}");
    }
    // The server has no files beside.
    assert!(from_yaml(&text).unwrap_err()[0].problem.message.contains("only pdpctl reads it"));
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

/// As `lines`, with a value of the command line in place.
fn lines_with(text: &str, set: &str) -> Vec<String> {
    let set = Override::parse(set).unwrap();
    let found = from_yaml_with(text, &[set]).unwrap_err();
    found.into_iter().map(|Located { line, problem }| format!("{}: {}", line.unwrap_or(0), problem.message)).collect()
}

#[test]
fn text_is_taken_as_it_is_written_with_and_without_values_of_the_command_line() {
    for written in
        ["8080", "true", "1.10", "0777", "yes", "1e3", "0x1F", "007", "2024-01-01", "1_000", "'a b'", "\"null\""]
    {
        let text =
            GOOD.replace("value: hello", &format!("value: {written}")) + "args: [sleep, 3600]\ndisplayName: 2024\n";
        let plain = from_yaml(&text).unwrap_or_else(|problems| panic!("{written}: {problems:?}"));
        let set = Override::parse("scaling.replicas=1").unwrap();
        let with = from_yaml_with(&text, &[set]).unwrap_or_else(|problems| panic!("{written}: {problems:?}"));
        for component in [&plain, &with] {
            let value = component.env.as_ref().unwrap()[0].value.as_deref();
            assert_eq!(value, Some(written.trim_matches(['"', '\''])));
            assert_eq!(component.args.as_ref().unwrap()[1], "3600");
        }
    }
    let amounts = GOOD.to_owned() + "resources: { cpuLimit: 1, cpuRequest: 0.5 }\n";
    let component = from_yaml_with(&amounts, &[Override::parse("track=v2.0").unwrap()]).unwrap();
    assert_eq!(component.resources.unwrap().cpu_request.as_deref(), Some("0.5"));
    let quoted = GOOD.replace("port: 8080", "port: \"8080\"").replace("replicas: 1", "replicas: '2'");
    for sets in [vec![], vec![Override::parse("track=v2.0").unwrap()]] {
        let component = from_yaml_with(&quoted, &sets).unwrap();
        assert_eq!(component.endpoints.unwrap()[0].port, 8080);
    }
}

#[test]
fn what_is_of_the_wrong_kind_is_named_at_once_with_lines() {
    let text =
        GOOD.replace("port: 8080", "port: http").replace("kind: HTTP", "kind: http") + "args: sleep\nscaling: 3\n";
    let expected = [
        "12: a whole number is expected here",
        "12: must be one of HTTP, GraphQL, gRPC, WebSocket, TCP, UDP",
        "16: a list is expected here",
        "17: keys and values are expected here",
    ];
    let mut plain: Vec<_> =
        lines(&text).iter().map(|line| line.split(" (").next().unwrap_or_default().to_owned()).collect();
    let mut with = lines_with(&text, "track=v1.1");
    plain.sort();
    with.sort();
    assert_eq!(plain, expected);
    assert_eq!(with, expected);
    assert_eq!(
        lines(&GOOD.replace("port: 8080", "port: 80.5")),
        ["12: a whole number is expected here (write digits only, without a fraction or a 0 in front)"]
    );
    assert!(lines(&GOOD.replace("port: 8080", "port: 3000000000"))[0].starts_with("12: must be from 1 to 65535"));
    assert!(lines(&GOOD.replace("value: hello", "value: [a]"))[0].starts_with("8: text is expected here"));
}

#[test]
fn what_is_empty_is_left_out_and_what_is_needed_is_missing() {
    let text = GOOD.to_owned() + "args:\ndisplayName: ~\nprobes: null\nfiles:\n";
    assert!(from_yaml(&text).unwrap().args.is_none());
    assert_eq!(from_yaml(&GOOD.replace("value: hello", "value:")).unwrap().env.unwrap()[0].value, None);
    assert_eq!(lines(&GOOD.replace("name: httpbin", "name: null")), ["3: `name` is empty (give it a value)"]);
    let without: String =
        GOOD.lines().filter(|line| !line.starts_with("image")).map(|line| format!("{line}\n")).collect();
    assert_eq!(lines(&without), ["1: `image` is missing (give it a value)"]);
    let image = GOOD.lines().find_map(|line| line.strip_prefix("image: ")).unwrap();
    from_yaml_with(&without, &[Override::parse(&format!("image={image}")).unwrap()]).unwrap();
}

#[test]
fn rules_have_the_line_of_what_breaks_them() {
    let text = GOOD.replace("scaling: { replicas: 1 }", "resources:\n      cpuLimit: 1\n      cpuRequest: 2");
    let found = lines(&text);
    assert_eq!(
        found,
        [
            "16: cpuRequest is above cpuLimit, and no pod may ask for more than its limit (raise the limit or lower the request)"
        ]
    );
    assert!(lines_with(&text, "track=v1.1")[0].starts_with("16: cpuRequest is above"));
}

#[test]
fn one_document_is_read_whatever_marks_its_ends() {
    for text in [
        format!("---\n{GOOD}"),
        format!("{GOOD}---\n"),
        format!("{GOOD}--- \r\n\n# nothing more\n"),
        format!("{GOOD}...\n"),
        format!("---\n{GOOD}---\n---"),
        format!("{GOOD}---  # end\n"),
        format!("{GOOD}---\n...\n# end\n"),
        format!("{GOOD}---\n").replace('\n', "\r"),
        format!("\u{feff}{}", GOOD.replace('\n', "\r\n")),
    ] {
        assert_eq!(from_yaml(&text).unwrap_or_else(|problems| panic!("{text}: {problems:?}")).name, "httpbin");
    }
    let found = lines(&format!("{GOOD}---\n{GOOD}"));
    assert!(found[0].contains("several documents") && found[0].contains("file of its own"), "{found:?}");
    assert_eq!(lines("---\n"), lines(""));
}

#[test]
fn words_are_ours_and_say_what_to_do() {
    let found = lines(&GOOD.replace("type: Service", "name: other"));
    assert_eq!(found, ["4: key `name` stands here twice (remove one of them)"]);
    let found = lines(&GOOD.replace("value: hello", "value: !!binary aGVsbG8=x"));
    assert!(found[0].contains("is not text") && !found[0].contains("aGVs"), "{found:?}");
    for (wrong, words) in [
        (".inf", "infinity"),
        (".nan", "what is no number"),
        ("!!int x", "cannot be read as YAML"),
        ("*nothing", "put quotes around text that begins with *"),
        ("@x", "quotes around text"),
        ("a: b", "quotes around text"),
        ("{<<: 5}", "`<<` takes keys"),
    ] {
        let found = lines(&GOOD.replace("port: 8080, kind", &format!("port: {wrong}, kind")));
        assert!(found[0].starts_with("12: ") && found[0].contains(words), "{wrong}: {found:?}");
        assert!(!found[0].contains("Options") && !found[0].contains("polic") && !found[0].contains("()"), "{found:?}");
    }
    assert!(lines(&GOOD.replace("    value:", "\tvalue:"))[0].contains("indent by spaces"));
    let ten = |name: &str, of: &str| format!("{name}: &{name} [{}]\n", [of; 10].join(","));
    let bomb: String = [("a", "x"), ("b", "*a"), ("c", "*b"), ("d", "*c"), ("e", "*d"), ("f", "*e"), ("g", "*f")]
        .map(|(name, of)| ten(name, of))
        .concat();
    assert!(lines(&(bomb + GOOD))[0].contains("more values or levels than can be read"));
}

#[test]
fn other_encodings_are_named() {
    use crate::component::decoded;

    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(GOOD.bytes().flat_map(|byte| [byte, 0])).collect();
    assert_eq!(decoded(utf16).unwrap_err().problem.message, "the file is in UTF-16");
    for bare in
        [GOOD.bytes().flat_map(|byte| [byte, 0]).collect::<Vec<_>>(), GOOD.bytes().flat_map(|byte| [0, byte]).collect()]
    {
        assert_eq!(decoded(bare).unwrap_err().problem.message, "the file is in UTF-16");
    }
    let latin = decoded(b"a: 1\nb: \xfc\n".to_vec()).unwrap_err();
    assert_eq!((latin.line, latin.problem.message.as_str()), (Some(2), "the file is not in UTF-8"));
    assert_eq!(decoded(GOOD.as_bytes().to_vec()).unwrap(), GOOD);
}

#[test]
fn what_a_command_line_put_there_is_told_without_a_line_of_the_file() {
    let text = format!("{GOOD}resources:\n  memoryRequest: 1Gi\n");
    let set = [Override::parse("resources.memoryLimit=64Mi").unwrap()];
    let found = from_yaml_with(&text, &set).unwrap_err();
    assert_eq!(found[0].line, None);
    assert!(found[0].problem.message.ends_with("(--set resources.memoryLimit)"), "{found:?}");
}

#[test]
fn a_list_of_names_where_volumes_belong_is_told_which_keys_are_needed() {
    let found = lines(&format!("{GOOD}volumes: [/data]\n"));
    assert!(found[0].contains("keys and values are expected here") && found[0].contains("path, size"), "{found:?}");
}
