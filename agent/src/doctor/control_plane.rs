//! The way to the control plane, as far as an agent without a certificate can go.

use jiff::Timestamp;
use protocol::message::SUBPROTOCOL;

use super::Notes;
use super::probe::{self, Head, Target, Trust};
use crate::cli::DoctorArgs;

/// Clock skew from which on the check warns, in seconds.
const SKEW_WARNING: i64 = 30;

/// Clock skew from which on the check fails, in seconds. Certificates are backdated by five minutes: with about that much skew a
/// new one is not valid on this node yet.
const SKEW_FAILURE: i64 = 240;

pub(super) async fn check(notes: &mut Notes<'_>, args: &DoctorArgs) {
    let Some(url) = &args.control_plane_url else {
        notes.skip("address", "no --control-plane-url is given");
        return;
    };
    let trust = match &args.ca_bundle_file {
        None => Trust::Platform,
        Some(path) => match tokio::fs::read(path).await {
            Ok(pem) => Trust::Bundle(pem),
            Err(error) => {
                let detail = format!("CA bundle {} cannot be read: {error}", path.display());
                notes.fail("ca-bundle", detail, "check --ca-bundle-file and the volume it comes from");
                return;
            }
        },
    };
    let target = Target {
        host: &url.host,
        port: url.port,
        trust: Some(trust),
        pins: &args.pins,
        server: "the control plane",
        address_setting: "controlPlane.url",
        bundle_setting: "--ca-bundle-file",
    };
    let upgrade = format!(
        "GET /v1/link HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: cGRwLWFnZW50IGRvY3Rvcg==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n",
        url.authority()
    );
    let Some(head) = probe::request(notes, &target, &upgrade).await else { return };
    note_upgrade(notes, head.status);
    note_clock(notes, &head, Timestamp::now());
}

/// The check has no client certificate, so a refused upgrade is expected: it only shows whether the control plane answers there.
fn note_upgrade(notes: &mut Notes<'_>, status: u16) {
    match status {
        101 | 400 | 401 | 403 | 426 => {
            notes.ok("websocket", format!("the link's address answers ({status} without a certificate)"))
        }
        404 => notes.fail(
            "websocket",
            "the server knows no link (404)",
            "check host and port; another server may answer there",
        ),
        300..=399 => notes.fail(
            "websocket",
            format!("the server redirects ({status})"),
            "give the address it redirects to; redirects are never followed",
        ),
        502..=504 => notes.fail(
            "websocket",
            format!("a gateway on the way answers {status}"),
            "let the gateway pass WebSocket upgrades to the control plane",
        ),
        _ => notes.warn("websocket", format!("the link's address answers {status}"), "look at the control plane's log"),
    }
}

fn note_clock(notes: &mut Notes<'_>, head: &Head, now: Timestamp) {
    let server = head.date.as_deref().and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let Some(server) = server else {
        notes.skip("clock", "the server sends no date");
        return;
    };
    let skew = now.as_second() - server.timestamp().as_second();
    let detail = format!("{} s {} the control plane's", skew.abs(), if skew < 0 { "behind" } else { "ahead of" });
    let hint = "set the clock of the node, or of the control plane";
    match skew.abs() {
        0..=SKEW_WARNING => notes.ok("clock", detail),
        ..=SKEW_FAILURE => notes.warn("clock", detail, hint),
        _ => notes.fail("clock", detail, hint),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Group, Report, Status};
    use super::*;

    fn noted(act: impl FnOnce(&mut Notes<'_>)) -> Status {
        let mut report = Report::default();
        act(&mut Notes { report: &mut report, group: Group::ControlPlane });
        report.checks.remove(0).status
    }

    #[test]
    fn clocks_may_differ_a_little() {
        let head = Head { status: 426, date: Some("Sat, 21 Nov 2026 12:00:00 GMT".to_owned()) };
        for (now, expected) in [
            ("2026-11-21T12:00:10Z", Status::Ok),
            ("2026-11-21T11:59:50Z", Status::Ok),
            ("2026-11-21T12:02:00Z", Status::Warn),
            ("2026-11-21T11:50:00Z", Status::Fail),
            ("2027-11-21T12:00:00Z", Status::Fail),
        ] {
            assert_eq!(noted(|notes| note_clock(notes, &head, now.parse().unwrap())), expected, "{now}");
        }
        let silent = Head { status: 200, date: None };
        assert_eq!(noted(|notes| note_clock(notes, &silent, Timestamp::UNIX_EPOCH)), Status::Skip);
    }

    #[test]
    fn a_refusal_for_want_of_a_certificate_is_what_is_hoped_for() {
        for (status, expected) in [
            (401, Status::Ok),
            (426, Status::Ok),
            (404, Status::Fail),
            (302, Status::Fail),
            (503, Status::Fail),
            (500, Status::Warn),
        ] {
            assert_eq!(noted(|notes| note_upgrade(notes, status)), expected, "{status}");
        }
    }
}
