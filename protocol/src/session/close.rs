//! Close codes of the control connection, and what they ask of the agent.

/// Why a connection is closed. Numbers of RFC 6455, section 7.4, and of its private range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: the side that closes has nothing more to say, the agent is stopping for instance.
    Normal,
    /// 1001: this gateway goes away; another is there, or it will be back.
    GoingAway,
    /// 4000: a rule of this protocol was broken.
    Protocol,
    /// 4001: a window was exceeded.
    WindowExceeded,
    /// 4002: a frame or message was too long.
    TooLarge,
    /// 4003: hello, welcome, pong or any byte was overdue.
    Timeout,
    /// 4004: a session with a higher epoch has come, or this one's is not high enough.
    Superseded,
    /// 4005: the agent does not hold its lease any more.
    NotLeading,
    /// 4006: the client certificate has ended.
    CertificateExpired,
    /// 4007: a person took the data plane's access away.
    Revoked,
    /// 4008: this identity belongs to another cluster.
    ForeignCluster,
    /// 4009: no common version or capability.
    Unsupported,
    /// 4010: too many sessions or a store that does not answer.
    Overloaded,
    /// 4011: the agent leaves as asked by `drain`, or the gateway closes what did not leave.
    Drained,
    /// Any other number.
    Unknown(u16),
}

/// What an agent does after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseClass {
    /// Dial again as after a lost connection.
    Reconnect,
    /// Dial again with a growing delay.
    BackOff,
    /// Dial again with a growing delay of seconds: the other side has too much to do.
    Relieve,
    /// Renew the certificate, then dial.
    Renew,
    /// Dial only if the lease is still held.
    IfLeading,
    /// Nothing will change by itself: try every few minutes, at once when a setting or credential changes.
    UntilChange,
}

impl CloseCode {
    /// Every code with a meaning.
    pub const ALL: [Self; 14] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::WindowExceeded,
        Self::TooLarge,
        Self::Timeout,
        Self::Superseded,
        Self::NotLeading,
        Self::CertificateExpired,
        Self::Revoked,
        Self::ForeignCluster,
        Self::Unsupported,
        Self::Overloaded,
        Self::Drained,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 4000,
            Self::WindowExceeded => 4001,
            Self::TooLarge => 4002,
            Self::Timeout => 4003,
            Self::Superseded => 4004,
            Self::NotLeading => 4005,
            Self::CertificateExpired => 4006,
            Self::Revoked => 4007,
            Self::ForeignCluster => 4008,
            Self::Unsupported => 4009,
            Self::Overloaded => 4010,
            Self::Drained => 4011,
            Self::Unknown(number) => number,
        }
    }

    /// What the agent does.
    #[must_use]
    pub const fn class(self) -> CloseClass {
        match self {
            Self::Normal | Self::GoingAway | Self::Timeout | Self::Drained => CloseClass::Reconnect,
            Self::Protocol | Self::WindowExceeded | Self::TooLarge | Self::Unknown(_) => CloseClass::BackOff,
            Self::Overloaded => CloseClass::Relieve,
            Self::CertificateExpired => CloseClass::Renew,
            Self::Superseded | Self::NotLeading => CloseClass::IfLeading,
            Self::Revoked | Self::ForeignCluster | Self::Unsupported => CloseClass::UntilChange,
        }
    }
}

impl From<u16> for CloseCode {
    fn from(number: u16) -> Self {
        Self::ALL.into_iter().find(|code| code.number() == number).unwrap_or(Self::Unknown(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from(code.number()), code);
        }
        assert_eq!(CloseCode::from(1006), CloseCode::Unknown(1006));
    }
}
