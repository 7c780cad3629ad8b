//! A report for people.

use std::fmt::Write as _;

use super::{Group, Report, Status};

/// As a table, hints below the lines they belong to, a verdict at the end.
#[must_use]
pub fn to_text(report: &Report) -> String {
    let mut out = String::new();
    let mut group = None;
    let width = report.checks.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    for finding in &report.checks {
        if group != Some(finding.group) {
            group = Some(finding.group);
            let gap = if out.is_empty() { "" } else { "\n" };
            _ = writeln!(out, "{gap}{}", title(finding.group));
        }
        _ = writeln!(out, "  {} {:width$}  {}", mark(finding.status), finding.check, finding.detail);
        if let Some(hint) = &finding.hint {
            _ = writeln!(out, "       {:width$}  -> {hint}", "");
        }
    }
    let count = |status| report.checks.iter().filter(|finding| finding.status == status).count();
    let (failed, warned, skipped) = (count(Status::Fail), count(Status::Warn), count(Status::Skip));
    let verdict = if failed == 0 { "nothing fails" } else { "the agent will not work" };
    _ = writeln!(
        out,
        "\n{failed} failed, {warned} to look at, {skipped} skipped of {}: {verdict}",
        report.checks.len()
    );
    out
}

fn title(group: Group) -> &'static str {
    match group {
        Group::ControlPlane => "Control plane",
        Group::Kubernetes => "Kubernetes",
        Group::Rights => "Rights",
        Group::Vault => "Vault",
    }
}

fn mark(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok  ",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
        Status::Skip => "skip",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Notes;
    use super::*;

    #[test]
    fn a_report_reads_as_a_table_and_as_json() {
        let mut report = Report::default();
        let mut notes = Notes { report: &mut report, group: Group::ControlPlane };
        notes.ok("dns", "cp.example.com is 10.0.0.1");
        notes.fail("tcp", "10.0.0.1:443 refused the connection", "open the firewall");
        notes.group = Group::Vault;
        notes.skip("vault", "no vault is configured");
        assert!(!report.is_ok());
        let expected = "Control plane\n  ok   dns    cp.example.com is 10.0.0.1\n  FAIL tcp    10.0.0.1:443 refused the connection\n              -> open the firewall\n\nVault\n  skip vault  no vault is configured\n\n1 failed, 0 to look at, 1 skipped of 3: the agent will not work\n";
        assert_eq!(to_text(&report), expected);
        let json = serde_json::to_value(&report).unwrap();
        let tcp = serde_json::json!({"group": "control-plane", "check": "tcp", "status": "fail",
            "detail": "10.0.0.1:443 refused the connection", "hint": "open the firewall"});
        assert_eq!(json["checks"][1], tcp);
    }
}
