//! From a host to the rules that name it, in as many probes as the host has labels at most.

use alloc::{string::String, vec::Vec};
use core::net::IpAddr;

use super::rule::{NoRule, Rule, Wanted};
use crate::{
    egress::{
        host::{HostView, MAX_NAME_BYTES},
        host_rule::{HostRule, Pattern},
    },
    index::KeyedIndex,
};

/// The host is on the deny list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::egress) struct Denied;

/// A run of postings; of one rule alone, `start` is the rule itself, so that most hosts need no posting.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    len: u32,
}

/// A name that rules or the deny list speak of. Half a cache line, and never in two.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Entry {
    start: u32,
    /// The upper half of the name's hash, once the index is finished.
    tag: u32,
    /// A name is never empty: 0 is a place without one.
    len: u8,
    denied: bool,
    denied_below: bool,
    /// The rules that name it exactly, or as a pattern where there is a star in it.
    exact: Span,
    suffix: Span,
}

/// Which kind of pattern a posting came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Exact,
    Starred,
    Suffix,
    Address,
    Any,
}

/// The index while it is filled.
pub(super) struct Builder {
    names: Names,
    addresses: Vec<IpAddr>,
    denied_addresses: Vec<IpAddr>,
    postings: Vec<(By, u32, u32)>,
    key: [u8; 16],
}

/// Every name once, found by a keyed hash: request hosts are chosen by strangers.
#[derive(Clone, Debug)]
struct Names {
    text: String,
    entries: Vec<Entry>,
    table: KeyedIndex,
}

fn name_of<'a>(text: &'a str, entry: &Entry) -> Option<&'a [u8]> {
    let start = usize::try_from(entry.start).ok()?;
    text.as_bytes().get(start..start.checked_add(entry.len.into())?)
}

impl Names {
    fn is_name(&self, slot: u32, name: &str) -> bool {
        let entry = usize::try_from(slot).ok().and_then(|slot| self.entries.get(slot));
        entry.and_then(|entry| name_of(&self.text, entry)) == Some(name.as_bytes())
    }

    /// The slot of `name`, a new one where there was none. `None` when the index is full.
    fn add(&mut self, name: &str) -> Option<u32> {
        let hash = self.table.hash(name.as_bytes());
        if let Some(slot) = self.table.get_hashed(hash, |slot| self.is_name(slot, name)) {
            return Some(slot);
        }
        let slot = u32::try_from(self.entries.len()).ok()?;
        let start = u32::try_from(self.text.len()).ok()?;
        u32::try_from(self.text.len().checked_add(name.len())?).ok()?;
        self.text.push_str(name);
        self.entries.push(Entry { start, len: u8::try_from(name.len()).ok()?, ..Entry::default() });
        self.table.insert_hashed(hash, slot);
        Some(slot)
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(slot).ok()?)
    }
}

/// The names once no other will come. Half of the places are empty, so that a name is in the first one that is looked at,
/// or next to it: one cache miss, where a table of slots would cost three in a row.
#[derive(Clone, Debug)]
struct FoundNames {
    text: String,
    places: Vec<Entry>,
    /// Start and length of each name, by slot.
    slots: Vec<(u32, u8)>,
    /// Keys the hash, and holds nothing else any more.
    hasher: KeyedIndex,
}

impl Default for FoundNames {
    fn default() -> Self {
        let hasher = KeyedIndex::new([0; 16]);
        Self { text: String::new(), places: Vec::new(), slots: Vec::new(), hasher }
    }
}

/// Where a hash begins to look among so many places, and the tag that it looks for.
fn first_place(hash: u64, places: usize) -> (usize, u32) {
    let mask = places.saturating_sub(1);
    let [a, b, c, d, tag @ ..] = hash.to_le_bytes();
    (usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(0) & mask, u32::from_le_bytes(tag))
}

impl FoundNames {
    fn new(names: Names) -> Self {
        let Names { text, entries, table: mut hasher } = names;
        hasher.release();
        let slots = entries.iter().map(|entry| (entry.start, entry.len)).collect();
        let wanted = entries.len().saturating_mul(2).checked_next_power_of_two().unwrap_or(0);
        let mut places = alloc::vec![Entry::default(); if entries.is_empty() { 0 } else { wanted }];
        for mut entry in entries {
            let hash = hasher.hash(name_of(&text, &entry).unwrap_or_default());
            let (mut at, tag) = first_place(hash, places.len());
            entry.tag = tag;
            while let Some(place) = places.get_mut(at) {
                if place.len == 0 {
                    *place = entry;
                    break;
                }
                at = at.saturating_add(1) & wanted.saturating_sub(1);
            }
        }
        Self { text, places, slots, hasher }
    }

    fn get(&self, name: &str) -> Option<&Entry> {
        let mask = self.places.len().saturating_sub(1);
        let (mut at, tag) = first_place(self.hasher.hash(name.as_bytes()), self.places.len());
        loop {
            // Half of the places are empty, so this ends.
            let entry = self.places.get(at).filter(|entry| entry.len > 0)?;
            if entry.tag == tag && name_of(&self.text, entry) == Some(name.as_bytes()) {
                return Some(entry);
            }
            at = at.saturating_add(1) & mask;
        }
    }
}

/// The bit of names with this many labels.
fn depth_bit(labels: usize) -> u128 {
    u32::try_from(labels).ok().and_then(|n| 1_u128.checked_shl(n)).unwrap_or(0)
}

fn labels(name: &str) -> usize {
    name.bytes().filter(|byte| *byte == b'.').count().saturating_add(1)
}

impl Builder {
    /// `names` is about how many different names there will be.
    pub(super) fn new(key: [u8; 16], names: usize) -> Self {
        let table = KeyedIndex::with_capacity(key, names);
        let text = String::with_capacity(names.saturating_mul(32));
        let names = Names { text, entries: Vec::with_capacity(names), table };
        let postings = Vec::with_capacity(names.entries.capacity());
        Self { names, addresses: Vec::new(), denied_addresses: Vec::new(), postings, key }
    }

    /// `rule` names a host. The answer is the slot of the name, for an exact one. `None` when the index is full.
    pub(super) fn add(&mut self, pattern: &HostRule, rule: u32) -> Option<Option<u32>> {
        let posting = match &pattern.0 {
            Pattern::Suffix(name) => (By::Suffix, self.names.add(name)?, rule),
            Pattern::Starred(name) => (By::Starred, self.names.add(name)?, rule),
            Pattern::Exact(host) => match host.view() {
                HostView::Name(name) => (By::Exact, self.names.add(name)?, rule),
                HostView::Ip(ip) => {
                    let slot = u32::try_from(self.addresses.len()).ok()?;
                    self.addresses.push(ip);
                    (By::Address, slot, rule)
                }
            },
        };
        self.postings.push(posting);
        Some((posting.0 == By::Exact).then_some(posting.1))
    }

    pub(super) fn add_any(&mut self, rule: u32) {
        self.postings.push((By::Any, 0, rule));
    }

    /// The deny list names a host. `None` when the index is full.
    pub(super) fn deny(&mut self, pattern: &HostRule) -> Option<()> {
        match &pattern.0 {
            Pattern::Suffix(name) => {
                let slot = self.names.add(name)?;
                self.names.entry_mut(slot)?.denied_below = true;
            }
            // The deny list has no patterns.
            Pattern::Starred(_) => return None,
            Pattern::Exact(host) => match host.view() {
                HostView::Name(name) => {
                    let slot = self.names.add(name)?;
                    self.names.entry_mut(slot)?.denied = true;
                }
                HostView::Ip(ip) => self.denied_addresses.push(ip),
            },
        }
        Some(())
    }

    /// Sorts the postings into groups. `check` sees every group of rules that name one host, in the order in which
    /// they will be asked.
    pub(super) fn finish<E>(
        mut self,
        rules: &[Rule],
        mut check: impl FnMut(&[u32]) -> Result<(), E>,
    ) -> Result<HostIndex, E> {
        // Equal literals were given different slots; the first slot of each address stands for it.
        let mut order: Vec<(IpAddr, u32)> = Vec::new();
        for (slot, ip) in (0_u32..).zip(&self.addresses) {
            order.push((*ip, slot));
        }
        order.sort_unstable();
        let first = |slot: u32| {
            let ip = usize::try_from(slot).ok().and_then(|at| self.addresses.get(at)).copied();
            ip.and_then(|ip| order.get(order.partition_point(|(held, _)| *held < ip)))
                .map_or(slot, |held| held.1)
        };
        for posting in &mut self.postings {
            if posting.0 == By::Address {
                posting.1 = first(posting.1);
            }
        }
        self.postings.sort_unstable();
        self.postings.dedup();

        let rule_at = |slot: u32| usize::try_from(slot).ok().and_then(|at| rules.get(at));
        let mut names = self.names;
        let mut index = HostIndex {
            names: FoundNames::default(),
            addresses: Vec::new(),
            found: KeyedIndex::new(self.key),
            stars: Vec::new(),
            denied_addresses: self.denied_addresses,
            postings: Vec::with_capacity(self.postings.len()),
            any: Span::default(),
            named: 0,
            below: 0,
            denied_below: 0,
        };
        for group in self.postings.chunk_by(|one, two| (one.0, one.1) == (two.0, two.1)) {
            let start = index.postings.len();
            index.postings.extend(group.iter().map(|(_, _, rule)| *rule));
            let own = index.postings.get_mut(start..).unwrap_or_default();
            own.sort_by(|one, two| match (rule_at(*one), rule_at(*two)) {
                (Some(one), Some(two)) => one.order(two),
                _ => one.cmp(two),
            });
            check(own)?;
            let span = if let [only] = own {
                let span = Span { start: *only, len: 1 };
                index.postings.truncate(start);
                span
            } else {
                let len = u32::try_from(own.len()).unwrap_or(u32::MAX);
                Span { start: u32::try_from(start).unwrap_or(u32::MAX), len }
            };
            match group.first() {
                Some((By::Any, ..)) => index.any = span,
                Some((By::Address, slot, _)) => {
                    let ip = usize::try_from(*slot).ok().and_then(|at| self.addresses.get(at));
                    index.addresses.extend(ip.map(|ip| (*ip, span)));
                }
                Some((By::Exact | By::Starred, slot, _)) => {
                    if let Some(entry) = names.entry_mut(*slot) {
                        entry.exact = span;
                    }
                }
                Some((By::Suffix, slot, _)) => {
                    if let Some(entry) = names.entry_mut(*slot) {
                        entry.suffix = span;
                    }
                }
                None => {}
            }
        }
        index.found = KeyedIndex::with_capacity(self.key, index.addresses.len());
        for (slot, (ip, _)) in (0_u32..).zip(&index.addresses) {
            let hash = index.found.hash(&octets(*ip));
            index.found.insert_hashed(hash, slot);
        }
        index.denied_addresses.sort_unstable();
        index.note_depths(&names);
        index.names = FoundNames::new(names);
        Ok(index)
    }
}

/// The finished index. Immutable; lookups allocate nothing.
#[derive(Clone, Debug)]
pub(super) struct HostIndex {
    names: FoundNames,
    addresses: Vec<(IpAddr, Span)>,
    /// The place of each among `addresses`, by a keyed hash.
    found: KeyedIndex,
    /// Number of labels and place of the star of each shape of pattern, in the order in which they are asked.
    stars: Vec<(usize, usize)>,
    /// Sorted.
    denied_addresses: Vec<IpAddr>,
    postings: Vec<u32>,
    any: Span,
    /// The numbers of labels of names that rules or deny list name exactly: most hosts need a single probe.
    named: u128,
    /// The same of suffixes of rules.
    below: u128,
    /// The same of suffixes of the deny list.
    denied_below: u128,
}

/// The best match so far, and how far the others came.
struct Search<'a> {
    wanted: &'a Wanted<'a>,
    rules: &'a [Rule],
    found: Option<u32>,
    missed: NoRule,
}

impl Search<'_> {
    /// Asks the rules of one group: the longest path prefix wins, then the order of the group.
    fn ask(&mut self, group: &[u32]) {
        let mut longest = None;
        for slot in group {
            let Some(rule) = usize::try_from(*slot).ok().and_then(|at| self.rules.get(at)) else { continue };
            match rule.matches(self.wanted) {
                Err(missed) => self.missed = self.missed.max(missed),
                Ok(length) if longest.is_none_or(|held| length > held) => {
                    longest = Some(length);
                    self.found = Some(*slot);
                }
                Ok(_) => {}
            }
        }
    }
}

/// An address as it is hashed: mapped, so that both families have one form.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

impl HostIndex {
    /// The rules that name `ip`.
    fn at_address(&self, ip: IpAddr) -> Option<&Span> {
        let held = |slot: u32| usize::try_from(slot).ok().and_then(|at| self.addresses.get(at));
        let is_it = |slot: u32| held(slot).is_some_and(|(own, _)| *own == ip);
        held(self.found.get_hashed(self.found.hash(&octets(ip)), is_it)?).map(|(_, span)| span)
    }

    /// Asks the patterns that `name` may match: one probe for each place of a star that patterns of as many labels have.
    fn ask_patterns(&self, name: &str, depth: usize, search: &mut Search<'_>) {
        let mut text = [0; MAX_NAME_BYTES];
        for (_, place) in self.stars.iter().filter(|(labels, _)| *labels == depth) {
            let mut at = 0_usize;
            for (nth, label) in name.split('.').enumerate() {
                let label = if nth == *place { "*" } else { label };
                let parts = [if nth == 0 { "" } else { "." }, label];
                for byte in parts.iter().flat_map(|part| part.bytes()) {
                    // A star is no longer than the label in whose place it stands.
                    if let Some(held) = text.get_mut(at) {
                        *held = byte;
                    }
                    at = at.saturating_add(1);
                }
            }
            let starred = text.get(..at).and_then(|text| core::str::from_utf8(text).ok());
            if let Some(entry) = starred.and_then(|starred| self.names.get(starred)) {
                search.ask(self.group(&entry.exact));
            }
            if search.found.is_some() {
                return;
            }
        }
    }

    fn note_depths(&mut self, names: &Names) {
        for entry in &names.entries {
            let Some(name) = name_of(&names.text, entry).and_then(|b| core::str::from_utf8(b).ok()) else {
                continue;
            };
            let bit = depth_bit(labels(name));
            if let Some(place) = name.split('.').position(|label| label == "*") {
                self.stars.push((labels(name), place));
                continue;
            }
            if entry.denied || entry.exact.len > 0 {
                self.named |= bit;
            }
            if entry.suffix.len > 0 {
                self.below |= bit;
            }
            if entry.denied_below {
                self.denied_below |= bit;
            }
        }
        self.stars.sort_unstable();
        self.stars.dedup();
    }

    /// `span` is borrowed, because the rule of a group of one stands in it.
    fn group<'a>(&'a self, span: &'a Span) -> &'a [u32] {
        if span.len == 1 {
            return core::slice::from_ref(&span.start);
        }
        let bounds = usize::try_from(span.start).ok().zip(usize::try_from(span.len).ok());
        let range = bounds.and_then(|(start, len)| Some(start..start.checked_add(len)?));
        range.and_then(|range| self.postings.get(range)).unwrap_or_default()
    }

    /// The winner among `rules` for a request to `host`: exact before pattern, pattern before suffix, longer suffix before shorter, any host
    /// last. The deny list beats them all.
    pub(super) fn search(
        &self,
        host: HostView<'_>,
        wanted: &Wanted<'_>,
        rules: &[Rule],
    ) -> Result<Result<u32, NoRule>, Denied> {
        let mut search = Search { wanted, rules, found: None, missed: NoRule::Host };
        match host {
            HostView::Ip(ip) => {
                if self.denied_addresses.binary_search(&ip).is_ok() {
                    return Err(Denied);
                }
                if let Some(span) = self.at_address(ip) {
                    search.ask(self.group(span));
                }
            }
            HostView::Name(name) => self.walk(name, &mut search)?,
        }
        Ok(search.found.ok_or(search.missed))
    }

    fn walk(&self, name: &str, search: &mut Search<'_>) -> Result<(), Denied> {
        let mut depth = labels(name);
        let mut rest = Some(name);
        while let Some(suffix) = rest {
            let whole = suffix.len() == name.len();
            let bit = depth_bit(depth);
            let mut asked = self.denied_below;
            if search.found.is_none() {
                asked |= self.below;
            }
            if whole {
                asked |= self.named;
            }
            let entry = if asked & bit == 0 { None } else { self.names.get(suffix) };
            if entry.is_some_and(|entry| entry.denied_below || whole && entry.denied) {
                return Err(Denied);
            }
            if whole {
                search.ask(entry.map(|entry| self.group(&entry.exact)).unwrap_or_default());
                if search.found.is_none() && !self.stars.is_empty() {
                    self.ask_patterns(name, depth, search);
                }
            }
            if let Some(entry) = entry.filter(|_| search.found.is_none()) {
                search.ask(self.group(&entry.suffix));
            }
            depth = depth.saturating_sub(1);
            rest = suffix.split_once('.').map(|(_, below)| below);
        }
        if search.found.is_none() {
            search.ask(self.group(&self.any));
        }
        Ok(())
    }

    /// Whether the deny list covers everything that `pattern` matches.
    pub(super) fn denies_all_of(&self, pattern: &HostRule) -> bool {
        let name = match &pattern.0 {
            Pattern::Suffix(name) => name,
            Pattern::Starred(name) => name,
            Pattern::Exact(host) => match host.view() {
                HostView::Ip(ip) => return self.denied_addresses.binary_search(&ip).is_ok(),
                HostView::Name(name) if self.names.get(name).is_some_and(|entry| entry.denied) => {
                    return true;
                }
                HostView::Name(name) => name,
            },
        };
        let mut rest = Some(name);
        while let Some(suffix) = rest {
            if self.names.get(suffix).is_some_and(|entry| entry.denied_below) {
                return true;
            }
            rest = suffix.split_once('.').map(|(_, below)| below);
        }
        false
    }

    /// The rules that name what `pattern` names, in the order in which they are asked.
    pub(super) fn group_of(&self, pattern: &HostRule) -> &[u32] {
        let span = match &pattern.0 {
            Pattern::Suffix(name) => self.names.get(name).map(|entry| &entry.suffix),
            Pattern::Starred(name) => self.names.get(name).map(|entry| &entry.exact),
            Pattern::Exact(host) => match host.view() {
                HostView::Name(name) => self.names.get(name).map(|entry| &entry.exact),
                HostView::Ip(ip) => self.at_address(ip),
            },
        };
        span.map(|span| self.group(span)).unwrap_or_default()
    }

    /// The name in `slot`.
    pub(super) fn name(&self, slot: u32) -> Option<&str> {
        let (start, len) = *self.names.slots.get(usize::try_from(slot).ok()?)?;
        core::str::from_utf8(name_of(&self.names.text, &Entry { start, len, ..Entry::default() })?).ok()
    }

    pub(super) fn any_group(&self) -> &[u32] {
        self.group(&self.any)
    }
}
