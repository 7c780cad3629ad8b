//! Why a session ended, in a word and a sentence for people.

use protocol::session::{CloseCode, Disconnect};

/// Reason and sentence for a session that ended.
pub(super) fn lost(cause: Disconnect, reason: &str) -> (&'static str, String) {
    let said = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let code = match cause {
        Disconnect::Local => {
            return ("ConnectionLost", format!("the connection to the control plane was given up{said}"));
        }
        Disconnect::Cut => return ("ConnectionLost", format!("the connection to the control plane was cut{said}")),
        Disconnect::Closed(code) => code,
    };
    let (word, sentence) = match code {
        CloseCode::Normal | CloseCode::GoingAway | CloseCode::Drained => {
            ("ConnectionLost", "the control plane closed the connection")
        }
        CloseCode::Timeout => ("ConnectionLost", "the control plane heard nothing for too long"),
        CloseCode::Protocol | CloseCode::WindowExceeded | CloseCode::TooLarge | CloseCode::Unknown(_) => {
            ("ProtocolError", "the control plane ended the session because of an error in it")
        }
        CloseCode::Superseded | CloseCode::NotLeading => ("Superseded", "another session has taken over"),
        CloseCode::CertificateExpired => ("CertificateRefused", "the agent's certificate has ended; it is renewed"),
        CloseCode::Revoked => {
            ("AccessRevoked", "the access of this data plane was taken away; ask an administrator of the control plane")
        }
        CloseCode::ForeignCluster => (
            "ForeignCluster",
            "this identity belongs to another cluster; install with a token of a data plane of its own",
        ),
        CloseCode::Unsupported => ("NoCommonVersion", "agent and control plane are too far apart in version"),
        CloseCode::Overloaded => ("Busy", "the control plane has too much to do"),
    };
    (word, format!("{sentence}{said}"))
}
