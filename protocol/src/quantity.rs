//! Quantities of Kubernetes (`500m`, `8Gi`), as far as comparing, adding room and choosing the larger one need.
//!
//! The API server rewrites quantities into a canonical form, so two spellings of one amount must not look like drift. Grammar:
//! Kubernetes API documentation, "Quantity".

/// An amount in thousandths of the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

impl Quantity {
    /// Reads `500m`, `1.5`, `.5`, `8Gi`, `1e3`; none if it is not a quantity, or one that cannot be compared here: with more than
    /// nine decimals, an exponent beyond 18, or more than 2^127 thousandths.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, amount) = match text.strip_prefix('-') {
            Some(amount) => (-1, amount),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = amount.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(amount.len());
        let (number, suffix) = amount.split_at(end);
        let (times, parts) = factor(suffix)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.len() > 9 || whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let nano: i128 = format!("{fraction:0<9}").parse().ok()?;
        // Rounded up, as Kubernetes does; a factor above one leaves the whole part whole.
        let milli = if parts == 1 {
            let whole = whole.checked_mul(times)?.checked_mul(1000)?;
            whole.checked_add(divided(nano * times * 1000, NANO))?
        } else {
            divided(whole.checked_mul(NANO)?.checked_add(nano)?.checked_mul(1000)?, NANO * parts)
        };
        Some(Self(sign * milli))
    }

    /// All of them together; none if one cannot be read, or they are too much to be compared here.
    #[must_use]
    pub fn sum<'a>(amounts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        amounts.into_iter().try_fold(Self(0), |sum, text| sum.0.checked_add(Self::parse(text)?.0).map(Self))
    }

    /// A quarter more, rounded up to a whole unit when it is whole: room for the surge of a rolling update.
    #[must_use]
    pub const fn with_surge(self) -> Self {
        let more = self.0 + (self.0 + 3) / 4;
        if self.0 % 1000 == 0 { Self((more + 999) / 1000 * 1000) } else { Self(more) }
    }
}

const NANO: i128 = 1_000_000_000;

/// What a suffix multiplies and divides by; one of them is 1.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        other => {
            let exponent: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.abs() <= 18)?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

/// Rounded up.
const fn divided(amount: i128, by: i128) -> i128 {
    amount / by + (amount % by != 0) as i128
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 % 1000 == 0 { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

/// The larger of two quantities as text; `a` where one cannot be read, so that the API server judges it.
#[must_use]
pub fn larger(a: &str, b: &str) -> String {
    match (Quantity::parse(a), Quantity::parse(b)) {
        (Some(left), Some(right)) if right > left => b.to_owned(),
        (Some(_) | None, Some(_) | None) => a.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_amount_are_equal() {
        for (a, b) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            ("1Gi", "1024Mi"),
            ("1e3", "1k"),
            ("1.5Gi", "1536Mi"),
            ("1n", "1m"),
            ("1Ei", "1024Pi"),
            (".5", "500m"),
            ("1.", "1"),
            ("+2", "2"),
            ("1E", "1000P"),
            ("1E3", "1k"),
            ("5e-1", "500m"),
            ("1000u", "1m"),
            ("0.1e1", "1"),
        ] {
            assert_eq!(Quantity::parse(a).unwrap(), Quantity::parse(b).unwrap(), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_not_read() {
        for text in ["", "Gi", "1x", "1e99", "abc", "1.2.3", ".", "+", "1e", "1-2", "--1", ".Mi", "0.1234567890"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_sum_is_of_amounts_that_can_be_read() {
        assert_eq!(Quantity::sum(["512Mi", "0.5Gi"]), Quantity::parse("1Gi"));
        assert_eq!(Quantity::sum([]), Quantity::parse("0"));
        assert_eq!(Quantity::sum(["1", "much"]), None);
        let most = (i128::MAX / 1000).to_string();
        assert_eq!(Quantity::sum([most.as_str(), most.as_str()]), None);
    }

    #[test]
    fn surge_room_is_a_quarter_more() {
        for (asked, room) in [("4", "5"), ("1", "2"), ("500m", "625m"), ("8Gi", "10737418240"), ("0", "0")] {
            assert_eq!(Quantity::parse(asked).unwrap().with_surge().to_string(), room, "{asked}");
        }
    }

    #[test]
    fn the_larger_amount_wins() {
        assert_eq!(larger("500m", "1"), "1");
        assert_eq!(larger("2Gi", "512Mi"), "2Gi");
        assert_eq!(larger("odd", "1"), "odd");
    }
}
