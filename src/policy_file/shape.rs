//! A value that does not have the shape that its reader asks for, in words that say what was due.

use alloc::{boxed::Box, format, string::ToString as _, vec::Vec};

use super::{Finding, conflict, source::Source};
use crate::code::Code;

/// Names this far apart may still be a slip of the fingers, per name of this length or more.
const fn slips(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }
}

/// The finding for what serde said at an offset of the JSON.
pub(super) fn finding(source: &Source<'_>, code: Code, offset: usize, reason: &str) -> Finding {
    // The attestation policy inside a fleet policy reports its own contradictions through serde, without a place.
    if let Some(rule) = reason.strip_prefix("attestation policy: ") {
        return conflict::finding_below(source, code, rule, "attestation");
    }
    let mut finding = source.finding_at(code, offset, reason.to_string());
    finding.help = help(reason);
    if reason.starts_with("missing field") || reason.starts_with("unknown field") {
        finding.value = None;
    }
    finding
}

/// A likely fix for what serde refuses: the nearest allowed name, or the member that is missing.
fn help(reason: &str) -> Option<Box<str>> {
    let names: Vec<&str> = reason.split('`').skip(1).step_by(2).collect();
    let (first, allowed) = names.split_first()?;
    if reason.starts_with("missing field") {
        return Some(format!("add the member `{first}`").into());
    }
    if reason.starts_with("duplicate field") {
        return Some("keep one of the two members".into());
    }
    if !reason.starts_with("unknown ") {
        return None;
    }
    let nearest = allowed
        .iter()
        .map(|name| (strsim::osa_distance(&first.to_ascii_lowercase(), name), name))
        .filter(|(distance, name)| *distance <= slips(name.len()))
        .min_by_key(|(distance, _)| *distance);
    let help = match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if allowed.is_empty() => format!("remove `{first}`: nothing is allowed here"),
        None => format!("allowed are {}", allowed.join(", ")),
    };
    Some(help.into())
}
