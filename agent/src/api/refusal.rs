//! What a refusal of the API server means: one reading of its codes and sentences, for every role. Pure.
//!
//! Admission policies, webhooks and quotas of the customer speak through HTTP errors whose codes overlap (a ValidatingAdmissionPolicy
//! answers 422 as the schema does, a webhook 403 as RBAC does), so their sentences have to be recognised.

/// Why the API server did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The object is not there.
    Missing,
    /// It does not serve this kind, or the namespace is not there.
    NotServed,
    /// The object changed since it was read, or one of that name already exists.
    Conflict,
    /// A quota is used up.
    Quota,
    /// The cluster has not counted yet what a quota limits: its controller looks for new kinds every half minute.
    QuotaUncounted,
    /// An admission policy or webhook of the customer, or Pod Security, denies it.
    Policy,
    /// The object itself is invalid.
    Invalid,
    /// It does not accept the account's token.
    Unauthorized,
    /// The account may not do it.
    Rights,
    /// Another admission plugin denies it: a LimitRange, a restriction of nodes.
    Admission,
    /// The namespace is going away.
    Terminating,
    /// It asks to slow down.
    Busy,
    /// A webhook of the customer's did not answer.
    Webhook,
    /// The API server itself failed: the request may have been carried out.
    Server,
    /// Nothing that is known here.
    Other,
}

/// Reads a refusal: HTTP status, machine-readable reason, sentence.
#[must_use]
pub fn refusal(code: u16, reason: &str, message: &str) -> Refusal {
    let has = |words: &str| message.contains(words);
    let policy = has("denied the request") || has("denied request") || has("violates PodSecurity");
    match code {
        404 if reason == "NotFound" && !message.starts_with("namespaces ") => Refusal::Missing,
        404 => Refusal::NotServed,
        409 => Refusal::Conflict,
        401 => Refusal::Unauthorized,
        429 => Refusal::Busy,
        500..=599 if has("failed calling webhook") => Refusal::Webhook,
        413 | 500..=599 if code == 413 || has("request is too large") => Refusal::Invalid,
        500..=599 => Refusal::Server,
        _ if has("exceeded quota") => Refusal::Quota,
        403 if has("status unknown for quota") => Refusal::QuotaUncounted,
        // A webhook may choose any code for its own refusal.
        _ if policy => Refusal::Policy,
        400 | 422 => Refusal::Invalid,
        403 if has("is being terminated") => Refusal::Terminating,
        403 if has("User \"") && has(" cannot ") => Refusal::Rights,
        403 => Refusal::Admission,
        _ => Refusal::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_read() {
        for (code, reason, message, expected) in [
            (409, "AlreadyExists", "configmaps \"a\" already exists", Refusal::Conflict),
            (404, "NotFound", "pods \"a\" not found", Refusal::Missing),
            (404, "NotFound", "namespaces \"a\" not found", Refusal::NotServed),
            (404, "", "the server could not find the requested resource", Refusal::NotServed),
            (403, "Forbidden", "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1", Refusal::Quota),
            (403, "Forbidden", "pods \"a\" is forbidden: status unknown for quota: q", Refusal::QuotaUncounted),
            (403, "Forbidden", "pods \"a\" is forbidden: violates PodSecurity \"restricted\": x", Refusal::Policy),
            (403, "Forbidden", "secrets is forbidden: User \"x\" cannot create resource \"secrets\"", Refusal::Rights),
            (403, "Forbidden", "pods \"a\" is forbidden: maximum cpu usage per Container is 1", Refusal::Admission),
            (403, "Forbidden", "cannot create: namespace a because it is being terminated", Refusal::Terminating),
            (422, "Invalid", "ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no", Refusal::Policy),
            (400, "", "admission webhook \"w\" denied the request: no", Refusal::Policy),
            (418, "", "admission webhook \"w\" denied the request: tea", Refusal::Policy),
            (422, "Invalid", "Deployment.apps \"a\" is invalid: spec.x: no", Refusal::Invalid),
            (400, "BadRequest", "strict decoding error: unknown field", Refusal::Invalid),
            (413, "RequestEntityTooLarge", "", Refusal::Invalid),
            (500, "", "etcdserver: request is too large", Refusal::Invalid),
            (500, "InternalError", "failed calling webhook \"w\"", Refusal::Webhook),
            (503, "ServiceUnavailable", "", Refusal::Server),
            (429, "TooManyRequests", "", Refusal::Busy),
            (401, "Unauthorized", "", Refusal::Unauthorized),
            (302, "", "", Refusal::Other),
        ] {
            assert_eq!(refusal(code, reason, message), expected, "{code} {message}");
        }
    }
}
