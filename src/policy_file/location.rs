//! Where the members of a document stand in its text.

use alloc::{
    borrow::{Cow, ToOwned as _},
    format,
    string::String,
    vec::Vec,
};
use core::ops::Range;

use crate::attestation::strict::Node;

/// A member or element of a document: its path, and where its key and its value stand in the checked text.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) path: String,
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Range<usize>,
    /// Neither an object nor an array.
    pub(super) scalar: bool,
}

/// `below.member`, where `below` may be empty.
pub(super) fn join(below: &str, member: &str) -> String {
    match (below.is_empty(), member.is_empty()) {
        (true, _) => member.to_owned(),
        (false, true) => below.to_owned(),
        (false, false) => format!("{below}.{member}"),
    }
}

/// Every place of a document, each before what it contains.
pub(super) fn all(text: &str, top: Node<'_>) -> Vec<Location> {
    let mut locations = Vec::new();
    visit(text, top, String::new(), None, &mut locations);
    locations
}

/// Gives where the value ends.
fn visit(
    text: &str,
    node: Node<'_>,
    path: String,
    key: Option<Range<usize>>,
    locations: &mut Vec<Location>,
) -> usize {
    let written = node.written();
    let at = locations.len();
    let scalar = !node.is_object() && node.elements().is_err();
    locations.push(Location { path: path.clone(), key, value: written.clone(), scalar });
    if scalar {
        return written.end;
    }
    let mut inside = written.start.saturating_add(1);
    if let Ok(members) = node.places() {
        for (key, value) in members {
            let name = key.text().unwrap_or(Cow::Borrowed(""));
            inside = visit(text, value, join(&path, &name), Some(key.written()), locations);
        }
    } else if let Ok(elements) = node.elements() {
        for (nth, element) in elements.enumerate() {
            inside = visit(text, element, format!("{path}[{nth}]"), None, locations);
        }
    }
    // Between the last value and the closing bracket there is white space alone.
    let rest = text.get(inside..).unwrap_or_default();
    let close =
        rest.find(['}', ']']).map_or(text.len(), |more| inside.saturating_add(more).saturating_add(1));
    if let Some(location) = locations.get_mut(at) {
        location.value.end = close;
    }
    close
}

/// The place that a reader was at when it stopped at `offset`: a container that it looked at and did not enter, what
/// ends there, or the innermost place that holds it.
pub(super) fn at_offset(locations: &[Location], offset: usize) -> Option<&Location> {
    let after = offset.saturating_add(1);
    let ahead = locations.iter().find(|location| !location.scalar && location.value.start == after);
    let ends = || locations.iter().find(|location| !location.scalar && location.value.end == after);
    let holds = |location: &&Location| {
        let start = location.key.as_ref().map_or(location.value.start, |key| key.start);
        start <= offset && offset <= location.value.end
    };
    ahead.or_else(ends).or_else(|| locations.iter().rev().find(holds))
}

/// The place with this path, or the innermost one around it that is written in the document.
pub(super) fn at_path<'p>(locations: &'p [Location], path: &str) -> Option<&'p Location> {
    let mut path = path;
    loop {
        if let Some(location) = locations.iter().find(|location| location.path == path) {
            return Some(location);
        }
        path = match path.rfind(['.', '[']) {
            Some(cut) => path.get(..cut)?,
            None if path.is_empty() => return None,
            None => "",
        };
    }
}
