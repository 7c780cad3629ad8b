//! Sentences as a real API server 1.35 words them.

use super::*;

fn answered(code: u16, reason: &str, message: &str) -> CallError {
    CallError::Refused(ApiStatus { code, reason: reason.into(), message: message.into(), ..ApiStatus::default() })
}

fn kind_of(meaning: &Meaning) -> String {
    match meaning {
        Meaning::ReadAgain => "ReadAgain".into(),
        Meaning::Uncertain(deferral) => format!("Uncertain {:?}", deferral.reason),
        Meaning::Deferred(deferral) => format!("Deferred {:?}", deferral.reason),
        Meaning::Refused(class, _) => format!("Refused {class:?}"),
    }
}

#[test]
fn every_error_has_one_meaning() {
    for (code, reason, message, expected) in [
        (409, "Conflict", "Operation cannot be fulfilled on releases: the object has been modified", "ReadAgain"),
        (409, "AlreadyExists", "releases.pdp-agent.dev \"web\" already exists", "ReadAgain"),
        (404, "NotFound", "releases.pdp-agent.dev \"web\" not found", "ReadAgain"),
        (404, "NotFound", "namespaces \"pdp-agent\" not found", "Deferred ApiServerUnavailable"),
        (404, "", "404 page not found", "Deferred ApiServerUnavailable"),
        (401, "Unauthorized", "Unauthorized", "Deferred ApiServerUnavailable"),
        (
            400,
            "BadRequest",
            "Release in version \"v1alpha1\" cannot be handled as a Release: strict decoding error: unknown field \"spec.colour\"",
            "Refused UnknownField",
        ),
        (400, "BadRequest", "the object provided is unrecognized", "Refused Invalid"),
        (400, "", "admission webhook \"v.example.com\" denied the request: no", "Refused Policy"),
        (403, "Forbidden", "admission webhook \"v.example.com\" denied the request: no", "Refused Policy"),
        (
            403,
            "Forbidden",
            "releases.pdp-agent.dev \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            "Refused Policy",
        ),
        (
            422,
            "Invalid",
            "releases \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: frozen on Fridays",
            "Refused Policy",
        ),
        (
            403,
            "Forbidden",
            "releases.pdp-agent.dev \"web\" is forbidden: exceeded quota: q, requested: count/releases.pdp-agent.dev=1, used: 3, limited: 3",
            "Refused Quota",
        ),
        (
            403,
            "Forbidden",
            "releases.pdp-agent.dev \"web\" is forbidden: status unknown for quota: q, resources: count/releases.pdp-agent.dev",
            "Deferred ApiServerUnavailable",
        ),
        (
            403,
            "Forbidden",
            "releases.pdp-agent.dev \"web\" is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"releases\"",
            "Deferred ApiServerUnavailable",
        ),
        (
            403,
            "Forbidden",
            "releases.pdp-agent.dev \"web\" is forbidden: unable to create new content in namespace a because it is being terminated",
            "Deferred ApiServerUnavailable",
        ),
        (422, "Invalid", "Release.pdp-agent.dev \"web\" is invalid", "Refused Invalid"),
        (413, "RequestEntityTooLarge", "limit is 3145728", "Refused Invalid"),
        (429, "TooManyRequests", "too many requests", "Deferred ApiServerUnavailable"),
        (418, "", "admission webhook \"v.example.com\" denied the request: teapot", "Refused Policy"),
        (
            500,
            "InternalError",
            "Internal error occurred: failed calling webhook \"v.example.com\": failed to call webhook: Post \"https://v\": context deadline exceeded",
            "Deferred WebhookUnavailable",
        ),
        (500, "", "etcdserver: request is too large", "Refused Invalid"),
        (500, "", "etcdserver: mvcc: database space exceeded", "Uncertain ApiServerUnavailable"),
        (503, "ServiceUnavailable", "no leader", "Uncertain ApiServerUnavailable"),
        (504, "Timeout", "request did not complete within the allotted timeout", "Uncertain ApiServerUnavailable"),
    ] {
        assert_eq!(kind_of(&classify(&answered(code, reason, message))), expected, "{code} {message}");
    }
    assert_eq!(kind_of(&classify(&CallError::NoAnswer("reset".into()))), "Uncertain ApiServerUnavailable");
}

#[test]
fn the_wait_that_the_server_asks_for_is_passed_on_and_bounded() {
    for (asked, expected) in [(None, RETRY), (Some(7), Duration::from_secs(7)), (Some(86_400), RETRY_MAX)] {
        let status = ApiStatus { code: 429, retry_after: asked.map(Duration::from_secs), ..ApiStatus::default() };
        let Meaning::Deferred(deferral) = classify(&CallError::Refused(status)) else { panic!("{asked:?}") };
        assert_eq!(deferral.retry_after, expected);
    }
}

#[test]
fn all_causes_become_reasons_with_pointers_and_without_values() {
    let cause = |field: &str, message: &str| ApiCause { field: field.into(), message: message.into() };
    let status = ApiStatus {
        code: 422,
        reason: "Invalid".into(),
        message: "several".into(),
        causes: vec![
            cause("spec.env[3].name", "Invalid value: \"hun\\\"ter 2\": spec.env[3].name in body should match '^x$'"),
            cause("spec.image", "Required value"),
        ],
        retry_after: None,
    };
    let Meaning::Refused(RefusalClass::Invalid, reasons) = classify(&CallError::Refused(status)) else { panic!() };
    assert_eq!(reasons[0].field, "/env/3/name");
    assert_eq!(reasons[0].message, "Invalid value: …: spec.env[3].name in body should match '^x$'");
    assert_eq!(reasons[1], FieldError { field: "/image".into(), message: "Required value".into() });
}

#[test]
fn a_policy_is_quoted_in_its_own_words() {
    let message = "releases \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: frozen on Fridays";
    let Meaning::Refused(RefusalClass::Policy, reasons) = classify(&answered(422, "Invalid", message)) else {
        panic!()
    };
    assert_eq!(reasons, [FieldError { field: String::new(), message: message.into() }]);
}

#[test]
fn strict_decoding_names_every_field() {
    let message = "x: strict decoding error: unknown field \"spec.a\", unknown field \"spec.env[0].b\", duplicate field \"spec.c\"";
    let Meaning::Refused(_, reasons) = classify(&answered(400, "BadRequest", message)) else { panic!() };
    let fields: Vec<_> = reasons.iter().map(|reason| reason.field.as_str()).collect();
    assert_eq!(fields, ["/a", "/env/0/b", "/c"]);
}

#[test]
fn a_long_sentence_is_cut_between_characters() {
    let text = "ü".repeat(MAX_MESSAGE);
    assert!(cut(&text).len() <= MAX_MESSAGE + '…'.len_utf8());
}

#[test]
fn a_quota_that_is_not_counted_yet_is_waited_for_briefly_and_rights_for_long() {
    let wait = |message: &str| {
        let meaning = classify(&answered(403, "Forbidden", message));
        let Meaning::Deferred(deferral) = meaning else { panic!("{}", kind_of(&meaning)) };
        deferral.retry_after
    };
    assert_eq!(wait("r is forbidden: status unknown for quota: q, resources: count/releases.pdp-agent.dev"), RETRY);
    assert_eq!(wait("r is forbidden: User \"a\" cannot create resource \"releases\""), RETRY_SETUP);
}
