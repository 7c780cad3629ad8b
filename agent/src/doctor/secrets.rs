//! Whether the secret source of the policy answers and can be used.

use super::Notes;
use super::probe::{self, Target, Trust};
use crate::kinds::DataPlanePolicy;
use crate::secrets::{Endpoint, Health, Source};

pub(super) async fn check(notes: &mut Notes<'_>, policy: Option<&DataPlanePolicy>) {
    let Some(source) = policy.and_then(|policy| Source::of(&policy.spec)) else {
        let detail = format!("the policy names {}: releases with secret references are refused", Source::LACKING);
        notes.skip("vault", detail);
        return;
    };
    let Endpoint { server, address, address_setting, bundle, bundle_setting, health_path, health } = source.endpoint();
    let uri = address.parse::<http::Uri>().ok();
    let Some((uri, host)) = uri.as_ref().and_then(|uri| Some((uri, uri.host()?))) else {
        notes.fail("vault", format!("the address of {server} is not a URL"), format!("correct {address_setting}"));
        return;
    };
    let secure = uri.scheme_str() == Some("https");
    let trust = bundle.map_or(Trust::Platform, |pem| Trust::Bundle(pem.as_bytes().to_vec()));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let target =
        Target { host, port, trust: secure.then_some(trust), pins: &[], server, address_setting, bundle_setting };
    let request = format!("GET {health_path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let Some(head) = probe::request(notes, &target, &request).await else { return };
    match health(head.status) {
        Health::Usable(detail) => notes.ok("vault", detail),
        Health::Unusable(why, hint) => notes.fail("vault", why, hint),
        Health::Unknown => {
            let hint = format!("check that {address_setting} is that of {server}");
            notes.warn("vault", format!("answers {}", head.status), hint);
        }
    }
}
