//! What rules that name one host may not do together.

use alloc::string::String;

use super::{
    MAX_RULES_PER_HOST,
    error::{PolicyError, PolicyReason},
    rule::Rule,
};

/// Checks the rules of one host: not too many, and no place of one request bound twice.
pub(super) fn check_group(group: &[u32], rules: &[Rule]) -> Result<(), PolicyError> {
    if group.len() < 2 {
        return Ok(());
    }
    let at = |slot: u32| usize::try_from(slot).ok().and_then(|at| rules.get(at).map(|rule| (at, rule)));
    if group.len() > MAX_RULES_PER_HOST {
        let reason = PolicyReason::TooMany(MAX_RULES_PER_HOST);
        let last = group.last().and_then(|slot| at(*slot));
        return Err(match last {
            Some((index, rule)) => PolicyError::of_rule(index, rule.id.as_str(), "hosts", reason),
            None => PolicyError::of_policy("rules", reason),
        });
    }
    let bound = || group.iter().filter_map(|slot| at(*slot)).filter(|(_, rule)| !rule.credentials.is_empty());
    for (nth, (_, one)) in bound().enumerate() {
        for (index, two) in bound().skip(nth.saturating_add(1)) {
            if let Some(place) = twice(one, two) {
                let reason = PolicyReason::CredentialConflict(place);
                return Err(PolicyError::of_rule(index, two.id.as_str(), "credentials", reason));
            }
        }
    }
    Ok(())
}

/// The place that both rules bind, differently, for a request that both match equally well.
fn twice(one: &Rule, two: &Rule) -> Option<String> {
    let differ = one.credentials.iter().find(|own| {
        let same_place = two.credentials.iter().find(|theirs| theirs.place.is_same(&own.place));
        same_place.is_some_and(|theirs| theirs != *own)
    });
    differ.filter(|_| one.overlaps(two)).map(|own| own.place.named())
}
