//! Waiting for a condition with a deadline. Tests and the test bed itself never sleep for a guessed time.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use super::Error;

/// Time between the first looks at a condition, and between later ones: many of them start a program.
const PAUSE: Duration = Duration::from_millis(60);
const LATER: Duration = Duration::from_millis(250);

/// How many are the first ones.
const FIRST: usize = 20;

/// Looks until `look` returns `Ok`, at most for `limit`. An `Err` means "not yet" and says what was seen instead.
///
/// Cancel safe: dropping the future stops looking.
///
/// # Errors
/// [`Error::Timeout`] with `what` and the last `Err`.
pub async fn wait_until<T, E, F, Fut>(limit: Duration, what: &str, mut look: F) -> Result<T, Error>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let end = Instant::now() + limit;
    let mut last = "the look itself did not return".to_owned();
    let mut looks = 0;
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(rest.max(PAUSE), look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last = reason.to_string(),
            // A look that the limit cut short has no result; the error reports the one before.
            Err(_) => {}
        }
        if Instant::now() >= end {
            return Err(Error::Timeout { what: what.to_owned(), seconds: limit.as_secs(), last });
        }
        looks += 1;
        tokio::time::sleep(if looks < FIRST { PAUSE } else { LATER }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timeout_names_the_condition_and_what_was_seen_last() {
        let result: Result<(), _> = wait_until(Duration::from_millis(100), "the moon", async || Err("a cloud")).await;
        assert_eq!(result.unwrap_err().to_string(), "waited 0 s for the moon; last seen: a cloud");
    }

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let value = wait_until(Duration::from_secs(5), "three looks", || {
            looks += 1;
            let seen = looks;
            async move { if seen == 3 { Ok(seen) } else { Err(seen) } }
        });
        assert_eq!(value.await.unwrap(), 3);
    }
}
