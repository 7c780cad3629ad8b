//! Spans of time as people read and write them: `3m`, `300s`.

use std::time::Duration;

use jiff::Timestamp;

/// How long ago `then` (RFC 3339) was, in its largest unit; `-` when it is no time. The future counts as now.
#[must_use]
pub(super) fn since(then: &str, now: Timestamp) -> String {
    then.parse::<Timestamp>()
        .map_or_else(|_| "-".into(), |then| short(now.as_second().saturating_sub(then.as_second())))
}

/// Seconds in their largest unit.
#[must_use]
pub(super) fn short(seconds: i64) -> String {
    let seconds = seconds.max(0);
    for (unit, size, from) in
        [("y", 365 * 86_400, 2 * 365 * 86_400), ("d", 86_400, 2 * 86_400), ("h", 3600, 2 * 3600), ("m", 60, 120)]
    {
        if seconds >= from {
            return format!("{}{unit}", seconds / size);
        }
    }
    format!("{seconds}s")
}

/// Reads `300s`, `5m`, `1h`, `1m30s`, or plain seconds.
///
/// # Errors
/// A sentence for people.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a time like 300s, 5m or 1h30m".to_owned();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0_u64;
    let mut digits = String::new();
    for character in text.chars() {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|more| total.checked_add(more)).ok_or_else(wrong)?;
        digits.clear();
    }
    if digits.is_empty() && !text.is_empty() { Ok(Duration::from_secs(total)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let ages: Vec<String> = [-5, 0, 119, 120, 3599, 7200, 86_400, 172_800, 70_000_000].map(short).to_vec();
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "59m", "2h", "24h", "2d", "2y"]);
    }

    #[test]
    fn what_is_no_time_has_no_age() {
        assert_eq!(since("yesterday", Timestamp::UNIX_EPOCH), "-");
        assert_eq!(since("1970-01-01T00:00:00Z", Timestamp::from_second(180).unwrap()), "3m");
    }

    #[test]
    fn durations_are_read_in_common_forms() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(seconds("300s"), Ok(300));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("45"), Ok(45));
        for wrong in ["", "s", "5x", "5m3", "99999999999999999999s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
