//! Why a stage of a round does not go on: something has to change first, or a call failed.

use std::time::Duration;

use crate::kinds::conditions::Trouble;
use crate::operator::cluster::ApiError;

/// Why a stage does not go on.
#[derive(Debug)]
pub enum Halt {
    /// Something has to change first: the conditions say it, and the stages that do not depend on it go on. Looked at again after that
    /// time if no event comes before.
    Blocked(Trouble, Option<Duration>),
    /// A call failed: the round ends here, and the next one goes on from what is stored.
    Api(ApiError),
}

impl From<ApiError> for Halt {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        Self::Blocked(trouble, None)
    }
}
