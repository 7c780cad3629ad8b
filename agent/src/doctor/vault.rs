//! Whether the vault of the policy answers and is open.

use super::Notes;
use super::probe::{self, Target, Trust};
use crate::kinds::DataPlanePolicy;

pub(super) async fn check(notes: &mut Notes<'_>, policy: Option<&DataPlanePolicy>) {
    let Some(vault) = policy.and_then(|policy| policy.spec.vault.as_ref()) else {
        notes.skip("vault", "the policy names no vault: releases with secret references are refused");
        return;
    };
    let uri = vault.address.parse::<http::Uri>().ok();
    let Some((uri, host)) = uri.as_ref().and_then(|uri| Some((uri, uri.host()?))) else {
        notes.fail(
            "vault",
            "the policy's vault address is not a URL",
            "correct spec.vault.address of the DataPlanePolicy",
        );
        return;
    };
    let secure = uri.scheme_str() == Some("https");
    let trust = vault.ca_bundle.as_ref().map_or(Trust::Platform, |pem| Trust::Bundle(pem.clone().into_bytes()));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let target = Target {
        host,
        port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        trust: secure.then_some(trust),
        pins: &[],
        server: "the vault",
        address_setting: "spec.vault.address of the DataPlanePolicy",
        bundle_setting: "spec.vault.caBundle of the DataPlanePolicy",
    };
    let request = format!("GET /v1/sys/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let Some(head) = probe::request(notes, &target, &request).await else { return };
    // Status codes of sys/health: HashiCorp Vault and OpenBao API documentation.
    match head.status {
        200 => notes.ok("vault", "open and active"),
        429 | 472 | 473 => notes.ok("vault", "open, a standby answers"),
        501 => notes.fail("vault", "not initialised", "initialise the vault"),
        503 => notes.fail("vault", "sealed", "unseal the vault; what runs goes on, new secrets wait"),
        status => notes.warn("vault", format!("answers {status}"), "check that the address is that of a vault"),
    }
}
