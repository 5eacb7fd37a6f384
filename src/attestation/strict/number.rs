//! Whether a number can be held, decided on its digits: no float takes part.

use super::{Numbers, StrictErrorKind};

/// The digits of 2^1024 - 2^970: the least integer that rounds to infinity in binary64 (IEEE 754, ties to even).
const INFINITE: &[u8] = b"1797693134862315807937289714053034150799341327100378269361737789804449682927647509466490\
1797758720709633028641669288791094655554785194040263065748867150582068190890200070838367627385484581771153176447\
5730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";

/// 2^53 - 1: the largest integer that every JSON reader agrees on (RFC 8259 section 6, I-JSON).
const MAX_SAFE: u64 = (1 << 53) - 1;

/// Judges a number that the grammar accepted. `fraction` and `exponent` are its parts after the point and the `e`.
pub(super) fn judge(
    rule: Numbers,
    negative: bool,
    integer: &[u8],
    fraction: &[u8],
    exponent: &[u8],
) -> Result<(), StrictErrorKind> {
    match rule {
        Numbers::Integers => {
            let whole = fraction.is_empty() && exponent.is_empty();
            let value = if whole { decimal(integer) } else { None };
            match value {
                Some(value) if value <= MAX_SAFE && !(negative && value == 0) => Ok(()),
                _ => Err(StrictErrorKind::NumberInteger),
            }
        }
        Numbers::Finite => {
            // Fewer than 309 digits and no exponent is below 10^308.
            if exponent.is_empty() && integer.len() < INFINITE.len() || is_finite(integer, fraction, exponent)
            {
                Ok(())
            } else {
                Err(StrictErrorKind::NumberRange)
            }
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit.saturating_sub(b'0')))
    })
}

/// Compares |number| with the least value that rounds to infinity, digit by digit.
fn is_finite(integer: &[u8], fraction: &[u8], exponent: &[u8]) -> bool {
    let digits = || integer.iter().chain(fraction).copied();
    let leading = digits().take_while(|digit| *digit == b'0').count();
    if leading == integer.len().saturating_add(fraction.len()) {
        return true;
    }
    // The number is 0.d1d2d3... times 10^point, with d1 not zero. Exponents beyond i64 saturate far outside.
    let (down, power) = match exponent.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, exponent),
    };
    let power = decimal(power).and_then(|power| i64::try_from(power).ok()).unwrap_or(i64::MAX);
    let power = if down { power.saturating_neg() } else { power };
    let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let point = length(integer.len()).saturating_sub(length(leading)).saturating_add(power);
    match point.cmp(&length(INFINITE.len())) {
        core::cmp::Ordering::Less => true,
        core::cmp::Ordering::Greater => false,
        // A shorter list of digits that is a prefix is smaller only where the rest of the bound is not zero.
        core::cmp::Ordering::Equal => {
            let mut rest = digits().skip(leading);
            for bound in INFINITE {
                let digit = rest.next().unwrap_or(b'0');
                if digit != *bound {
                    return digit < *bound;
                }
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String};

    use proptest::prelude::*;

    use super::*;

    fn finite(integer: &str, fraction: &str, exponent: &str) -> bool {
        judge(Numbers::Finite, false, integer.as_bytes(), fraction.as_bytes(), exponent.as_bytes()).is_ok()
    }

    proptest! {
        /// The digits give the verdict that the standard library's correctly rounded parse gives.
        #[test]
        fn digits_agree_with_a_correctly_rounded_parse(
            integer in "0|[1-9][0-9]{0,330}", fraction in "[0-9]{0,40}", exponent in "|[+-]?[0-9]{1,4}",
        ) {
            let mut text = String::from(&integer);
            if !fraction.is_empty() { text = format!("{text}.{fraction}"); }
            if !exponent.is_empty() { text = format!("{text}e{exponent}"); }
            let want = text.parse::<f64>().unwrap().is_finite();
            prop_assert_eq!(finite(&integer, &fraction, &exponent), want, "{}", text);
        }
    }

    #[test]
    fn the_edge_of_a_double_is_exact() {
        let bound = core::str::from_utf8(INFINITE).unwrap();
        assert!(!bound.parse::<f64>().unwrap().is_finite());
        assert!(!finite(bound, "", ""));
        let below = format!("{}{}", &bound[..bound.len() - 2], "91");
        assert!(below.parse::<f64>().unwrap().is_finite());
        assert!(finite(&below, "", ""));
        assert!(finite("0", &bound[..40], "309") && !finite("1", "", "309") && finite("1", "", "308"));
        assert!(finite("0", "000", "99999999999999999999") && finite("1", "", "-99999999999999999999"));
        assert!(!finite("1", "", "99999999999999999999"));
    }

    #[test]
    fn integers_stop_at_two_to_the_53() {
        let judge = |negative, integer: &str, e: &str| {
            judge(Numbers::Integers, negative, integer.as_bytes(), b"", e.as_bytes())
        };
        assert!(judge(false, "9007199254740991", "").is_ok() && judge(true, "9007199254740991", "").is_ok());
        for (negative, integer, exponent) in [
            (false, "9007199254740992", ""),
            (true, "0", ""),
            (false, "1", "0"),
            (false, "18446744073709551616", ""),
        ] {
            assert_eq!(judge(negative, integer, exponent), Err(StrictErrorKind::NumberInteger), "{integer}");
        }
    }
}
