//! Loads a state from the chunks of a snapshot, one chunk at a time. Everything that can be checked is
//! checked.

use super::{
    Form, Stored,
    error::RecoverError,
    snapshot::{CHAIN, Head, Section},
};
use crate::{
    digest::Sha256Digest,
    dispatch::DispatchState,
    fleet::{roster::RosterLoader, runs::Runs, session::Sessions, spent::Spent, state::FleetState},
    identity::{DeviceRegistryLoader, TrustAnchors, pairing::PairingState},
    node::NodeRuntimeState,
};

const ORDER: RecoverError = RecoverError::Inconsistent("the parts of a snapshot are out of order");
const ROSTER: RecoverError = RecoverError::Inconsistent("the roster does not load");
const PAIRING: RecoverError = RecoverError::Inconsistent("the pairing sessions do not load");
const DISPATCH: RecoverError = RecoverError::Inconsistent("dispatch does not load");
const REGISTRY: RecoverError = RecoverError::Inconsistent("the device registry does not load");

/// The parts of a state that are loaded so far.
struct Parts {
    head: Head,
    roster: RosterLoader,
    runs: Runs,
    grants: Spent,
    nonces: Spent,
    sessions: Sessions,
    devices: Option<DeviceRegistryLoader>,
    anchors: Option<TrustAnchors>,
    pairing: Option<PairingState>,
    dispatch: Option<DispatchState>,
}

/// A snapshot while it is loaded.
pub(in crate::fleet) struct Loader {
    index_key: [u8; 16],
    chain: Sha256Digest,
    /// The version of the first chunk. All chunks must have the same version.
    version: Option<u8>,
    section: Section,
    parts: Option<Parts>,
}

impl Loader {
    pub(in crate::fleet) fn new(index_key: [u8; 16]) -> Self {
        Self { index_key, chain: CHAIN.genesis(), version: None, section: Section::Head, parts: None }
    }

    /// Whether the end of the snapshot was read.
    pub(in crate::fleet) fn is_whole(&self) -> bool {
        self.section == Section::End
    }

    /// Loads the chunk at the front of `bytes` and returns the rest.
    pub(in crate::fleet) fn chunk<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], RecoverError> {
        if self.is_whole() {
            return Err(ORDER);
        }
        let link = CHAIN.read(bytes, self.chain)?;
        if *self.version.get_or_insert(link.version) != link.version {
            return Err(ORDER);
        }
        let form = if link.version == CHAIN.version { Form::V2 } else { Form::V1 };
        self.chain = link.chain;
        let (section, mut items) = link.body.split_first().ok_or(RecoverError::Malformed)?;
        let section = usize::from(*section);
        let section = *Section::ALL.get(section).ok_or(RecoverError::Malformed)?;
        if section < self.section {
            return Err(ORDER);
        }
        self.section = section;
        while !items.is_empty() {
            items = self.item(form, section, items)?;
        }
        Ok(link.rest)
    }

    fn item<'a>(&mut self, form: Form, section: Section, items: &'a [u8]) -> Result<&'a [u8], RecoverError> {
        let Some(parts) = &mut self.parts else {
            let (head, rest) = take::<Head>(form, items)?;
            if section != Section::Head {
                return Err(ORDER);
            }
            let key = self.index_key;
            self.parts = Some(Parts {
                roster: RosterLoader::new(key, head.quarantine_generation, head.wave),
                runs: Runs::new(key),
                grants: Spent::new(key),
                nonces: Spent::new(key),
                sessions: Sessions::default(),
                devices: None,
                anchors: None,
                pairing: None,
                dispatch: None,
                head,
            });
            return Ok(rest);
        };
        match section {
            Section::Head | Section::End => Err(ORDER),
            Section::Places => {
                let (place, rest) = take(form, items)?;
                parts.roster.place(place).ok_or(ROSTER)?;
                Ok(rest)
            }
            Section::Free => {
                let (slot, rest) = take(form, items)?;
                parts.roster.free(slot).ok_or(ROSTER)?;
                Ok(rest)
            }
            Section::Runs => {
                let (run, rest) = take(form, items)?;
                parts.runs.load(run);
                Ok(rest)
            }
            Section::Grants => {
                let ((batch, grant), rest) = take::<(u64, Sha256Digest)>(form, items)?;
                // The first form remembered grants by the wall clock, which can be set back.
                let last = parts.head.last;
                let batch = match form {
                    Form::V1 => Spent::batch_on_the_line(batch, last),
                    Form::V2 => batch,
                };
                parts.grants.load((batch, grant));
                Ok(rest)
            }
            Section::Nonces => {
                let (entry, rest) = take(form, items)?;
                parts.nonces.load(entry);
                Ok(rest)
            }
            Section::Sessions => {
                let ((client, session), rest) = take(form, items)?;
                parts.sessions.load(client, session);
                Ok(rest)
            }
            Section::Registry => {
                let (head, rest) = take(form, items)?;
                let (limits, ..) = parts.head.policy.node_policies();
                let loader = DeviceRegistryLoader::new(head, limits, self.index_key).map_err(|_| REGISTRY)?;
                if parts.devices.replace(loader).is_some() { Err(ORDER) } else { Ok(rest) }
            }
            Section::Revoked => {
                let (entry, rest) = take(form, items)?;
                parts.devices.as_mut().ok_or(ORDER)?.revoked(entry).map_err(|_| REGISTRY)?;
                Ok(rest)
            }
            Section::Devices => {
                let (device, rest) = take(form, items)?;
                parts.devices.as_mut().ok_or(ORDER)?.device(device).map_err(|_| REGISTRY)?;
                Ok(rest)
            }
            Section::Anchors => {
                // Decoding checks their bounds and what is revoked.
                let (anchors, rest) = take(form, items)?;
                if parts.anchors.replace(anchors).is_some() { Err(ORDER) } else { Ok(rest) }
            }
            Section::Pairing => {
                let (sessions, rest) = take(form, items)?;
                let (_, policy, _) = parts.head.policy.node_policies();
                let pairing = PairingState::restore(sessions, policy).map_err(|_| PAIRING)?;
                if parts.pairing.replace(pairing).is_some() { Err(ORDER) } else { Ok(rest) }
            }
            Section::Dispatch => {
                let (head, rest) = take(form, items)?;
                let (.., policy) = parts.head.policy.node_policies();
                let dispatch = DispatchState::from_head(policy, self.index_key, &head);
                if parts.dispatch.replace(dispatch).is_some() { Err(ORDER) } else { Ok(rest) }
            }
            Section::Granted => {
                let (device, rest) = take(form, items)?;
                parts.dispatch.as_mut().ok_or(ORDER)?.load_device(device).map_err(|_| DISPATCH)?;
                Ok(rest)
            }
            Section::Requests => {
                let (request, rest) = take(form, items)?;
                parts.dispatch.as_mut().ok_or(ORDER)?.load_request(request).map_err(|_| DISPATCH)?;
                Ok(rest)
            }
        }
    }

    /// The loaded state, and the digest from which the journal continues.
    pub(in crate::fleet) fn finish(self) -> Result<(FleetState, Sha256Digest), RecoverError> {
        if !self.is_whole() {
            return Err(RecoverError::Malformed);
        }
        let Parts { head, roster, mut runs, grants, nonces, sessions, devices, anchors, pairing, dispatch } =
            self.parts.ok_or(ORDER)?;
        runs.loaded();
        let mut dispatch = dispatch.ok_or(ORDER)?;
        dispatch.loaded();
        let nodes = NodeRuntimeState {
            registry: devices.ok_or(ORDER)?.finish().map_err(|_| REGISTRY)?,
            anchors: anchors.ok_or(ORDER)?,
            pairing: pairing.ok_or(ORDER)?,
            dispatch,
        };
        let state = FleetState {
            roster: roster.finish(head.stamp).ok_or(ROSTER)?,
            nodes,
            policy: head.policy,
            policy_generation: head.policy_generation,
            epoch: head.epoch,
            version: head.version,
            index: head.index,
            last: head.last,
            fence_counter: head.fence_counter,
            runs,
            grants,
            nonces,
            sessions,
            quiet_until: head.quiet_until,
            floor: head.floor,
            bounds: head.bounds,
            folding: head.folding,
            held_until: head.held_until,
        };
        state.check_invariants().map_err(RecoverError::Inconsistent)?;
        Ok((state, head.chain))
    }
}

/// Decodes the item at the front of `items` and returns the rest. An item has at least one byte, so decoding
/// ends.
fn take<T: Stored>(form: Form, items: &[u8]) -> Result<(T, &[u8]), RecoverError> {
    let (item, rest) = super::take(form, items).ok_or(RecoverError::Malformed)?;
    if rest.len() < items.len() { Ok((item, rest)) } else { Err(RecoverError::Malformed) }
}
