//! Headers of an upgrade that are compared, and what to do where one is wrong.

use std::fmt;

use http::header::{self, HeaderName};

/// A header of the answer 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeHeader {
    Upgrade,
    Connection,
    Accept,
    Extensions,
    Protocol,
}

impl UpgradeHeader {
    /// As HTTP has it.
    pub(super) const fn name(self) -> HeaderName {
        match self {
            Self::Upgrade => header::UPGRADE,
            Self::Connection => header::CONNECTION,
            Self::Accept => header::SEC_WEBSOCKET_ACCEPT,
            Self::Extensions => header::SEC_WEBSOCKET_EXTENSIONS,
            Self::Protocol => header::SEC_WEBSOCKET_PROTOCOL,
        }
    }

    /// What to do where it is wrong.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Upgrade | Self::Connection | Self::Accept => {
                "a proxy on the way rewrites or caches upgrades, or what answers at controlPlane.url speaks no WebSocket"
            }
            Self::Extensions => {
                "the agent asked for none: switch compression of WebSockets off at the control plane or the proxy that adds it"
            }
            Self::Protocol => {
                "agent and control plane are too far apart in version, or a proxy on the way drops or rewrites that header"
            }
        }
    }
}

impl fmt::Display for UpgradeHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upgrade => "Upgrade",
            Self::Connection => "Connection",
            Self::Accept => "Sec-WebSocket-Accept",
            Self::Extensions => "Sec-WebSocket-Extensions",
            Self::Protocol => "Sec-WebSocket-Protocol",
        })
    }
}
