//! Rules between the members of a policy, and the values that break them.
//!
//! A rule is a sentence that names its members, such as `lease.renew_every_ms < lease.ttl_max_ms`. The finding shows
//! the value of each, and says where a value is a default that the file does not write.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use serde_json::Value;

use super::{Finding, location, source::Source};
use crate::code::Code;

/// The finding for a rule that does not hold in `whole`, the policy with its defaults.
pub(super) fn finding(source: &Source<'_>, code: Code, rule: &str, whole: &Value) -> Finding {
    let paths: Vec<String> =
        words(rule).filter_map(|word| find(whole, word)).fold(Vec::new(), |mut all, path| {
            if !all.contains(&path) {
                all.push(path);
            }
            all
        });
    let location = paths.iter().find(|path| source.has(path)).or(paths.first()).cloned().unwrap_or_default();
    let mut values = Vec::new();
    for path in &paths {
        let value = pointer(whole, path).map(ToString::to_string).unwrap_or_default();
        if value.len() <= 40 {
            let default = if source.has(path) { "" } else { " by default" };
            values.push(format!("{path} is {value}{default}"));
        }
    }
    let mut finding =
        source.finding(code, &location, format!("the policy contradicts itself: {rule}")).without_value();
    if !values.is_empty() {
        finding.help = Some(format!("change one of them: {}", values.join(", ")).into());
    }
    finding
}

/// As [`finding`], for a policy inside another one at `below`: only what the file writes is known of it.
pub(super) fn finding_below(source: &Source<'_>, code: Code, rule: &str, below: &str) -> Finding {
    let whole = source.fill::<Value>().unwrap_or_default();
    let inner = pointer(&whole, below).unwrap_or(&Value::Null);
    let paths: Vec<String> =
        words(rule).filter_map(|word| find(inner, word)).map(|path| location::join(below, &path)).collect();
    let values: Vec<String> = paths
        .iter()
        .filter_map(|path| pointer(&whole, path).map(|value| format!("{path} is {value}")))
        .filter(|text| text.len() <= 90)
        .collect();
    let location = paths.first().map_or(below, String::as_str);
    let mut finding =
        source.finding(code, location, format!("the policy contradicts itself: {rule}")).without_value();
    if !values.is_empty() {
        finding.help = Some(format!("change one of them: {}", values.join(", ")).into());
    }
    finding
}

/// What may be the name of a member.
fn words(rule: &str) -> impl Iterator<Item = &str> {
    let inside = |character: char| character.is_ascii_alphanumeric() || "_.".contains(character);
    rule.split(move |character| !inside(character)).filter(|word| word.len() > 3)
}

/// The path of the member that a word of a rule names: as it is written, or one level down.
fn find(whole: &Value, word: &str) -> Option<String> {
    if pointer(whole, word).is_some() {
        return Some(word.to_string());
    }
    let below = whole.as_object()?.iter().find(|(_, value)| value.get(word).is_some());
    below.map(|(name, _)| location::join(name, word))
}

/// The value at a path of names and dots.
fn pointer<'v>(whole: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(whole, |value, name| value.get(name))
}
