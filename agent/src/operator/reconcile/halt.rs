//! Why a stage of a round does not go on: something has to change first, or a call failed.

use std::time::Duration;

use crate::kinds::conditions::Reason;
use crate::operator::cluster::ApiError;

/// The reason of what breaks a rule of its kind: no waiting changes that.
pub const INVALID: &str = "Invalid";

/// Why a stage does not go on.
#[derive(Debug)]
pub enum Halt {
    /// Something has to change first: the conditions say it, and the stages that do not depend on it go on. Looked at again after that
    /// time if no event comes before.
    Blocked(Reason, Option<Duration>),
    /// What is asked for can never work, however long one waits: it fails.
    Invalid(Reason),
    /// A call failed: the round ends here, and the next one goes on from what is stored.
    Api(ApiError),
}

impl From<ApiError> for Halt {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Reason> for Halt {
    fn from(why: Reason) -> Self {
        if why.reason == INVALID { Self::Invalid(why) } else { Self::Blocked(why, None) }
    }
}
