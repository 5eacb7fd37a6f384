//! From the chunks of a snapshot back to a state, one chunk at a time. Nothing that can be checked is believed.

use serde::de::DeserializeOwned;

use super::{
    recover::RecoverError,
    roster::RosterLoader,
    runs::Runs,
    session::Sessions,
    snapshot::{CHAIN, Head, Section},
    spent::Spent,
    state::FleetState,
};
use crate::{
    digest::Sha256Digest,
    dispatch::DispatchState,
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

/// A snapshot on its way in.
pub(super) struct Loader {
    index_key: [u8; 16],
    chain: Sha256Digest,
    section: Section,
    parts: Option<Parts>,
}

impl Loader {
    pub(super) fn new(index_key: [u8; 16]) -> Self {
        Self { index_key, chain: CHAIN.genesis(), section: Section::Head, parts: None }
    }

    /// Whether the last chunk was the end.
    pub(super) fn is_whole(&self) -> bool {
        self.section == Section::End
    }

    /// The chunk at the front of `bytes`; gives the rest.
    pub(super) fn chunk<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], RecoverError> {
        if self.is_whole() {
            return Err(ORDER);
        }
        let (body, chain, rest) = CHAIN.read_body(bytes, self.chain)?;
        self.chain = chain;
        let (section, mut items) = body.split_first().ok_or(RecoverError::Malformed)?;
        let section = usize::from(*section);
        let section = *Section::ALL.get(section).ok_or(RecoverError::Malformed)?;
        if section < self.section {
            return Err(ORDER);
        }
        self.section = section;
        while !items.is_empty() {
            items = self.item(section, items)?;
        }
        Ok(rest)
    }

    fn item<'a>(&mut self, section: Section, items: &'a [u8]) -> Result<&'a [u8], RecoverError> {
        let Some(parts) = &mut self.parts else {
            let (head, rest) = take::<Head>(items)?;
            if section != Section::Head {
                return Err(ORDER);
            }
            let key = self.index_key;
            self.parts = Some(Parts {
                roster: RosterLoader::new(key, head.quarantine_generation),
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
                let (place, rest) = take(items)?;
                parts.roster.place(place).ok_or(ROSTER)?;
                Ok(rest)
            }
            Section::Free => {
                let (slot, rest) = take(items)?;
                parts.roster.free(slot).ok_or(ROSTER)?;
                Ok(rest)
            }
            Section::Runs => {
                let (run, rest) = take(items)?;
                parts.runs.load(run);
                Ok(rest)
            }
            Section::Grants => {
                let (entry, rest) = take(items)?;
                parts.grants.load(entry);
                Ok(rest)
            }
            Section::Nonces => {
                let (entry, rest) = take(items)?;
                parts.nonces.load(entry);
                Ok(rest)
            }
            Section::Sessions => {
                let ((client, session), rest) = take(items)?;
                parts.sessions.load(client, session);
                Ok(rest)
            }
            Section::Registry => {
                let (head, rest) = take(items)?;
                let (limits, ..) = parts.head.policy.node_policies();
                let loader = DeviceRegistryLoader::new(head, limits, self.index_key).map_err(|_| REGISTRY)?;
                if parts.devices.replace(loader).is_some() { Err(ORDER) } else { Ok(rest) }
            }
            Section::Revoked => {
                let (entry, rest) = take(items)?;
                parts.devices.as_mut().ok_or(ORDER)?.revoked(entry).map_err(|_| REGISTRY)?;
                Ok(rest)
            }
            Section::Devices => {
                let (device, rest) = take(items)?;
                parts.devices.as_mut().ok_or(ORDER)?.device(device).map_err(|_| REGISTRY)?;
                Ok(rest)
            }
            Section::Anchors => {
                // Read with their bounds, and with what is revoked.
                let (anchors, rest) = take(items)?;
                if parts.anchors.replace(anchors).is_some() { Err(ORDER) } else { Ok(rest) }
            }
            Section::Pairing => {
                let (sessions, rest) = take(items)?;
                let (_, policy, _) = parts.head.policy.node_policies();
                let pairing = PairingState::restore(sessions, policy).map_err(|_| PAIRING)?;
                if parts.pairing.replace(pairing).is_some() { Err(ORDER) } else { Ok(rest) }
            }
            Section::Dispatch => {
                let (head, rest) = take(items)?;
                let (.., policy) = parts.head.policy.node_policies();
                let dispatch = DispatchState::from_head(policy, self.index_key, &head);
                if parts.dispatch.replace(dispatch).is_some() { Err(ORDER) } else { Ok(rest) }
            }
            Section::Granted => {
                let (device, rest) = take(items)?;
                parts.dispatch.as_mut().ok_or(ORDER)?.load_device(device).map_err(|_| DISPATCH)?;
                Ok(rest)
            }
            Section::Requests => {
                let (request, rest) = take(items)?;
                parts.dispatch.as_mut().ok_or(ORDER)?.load_request(request).map_err(|_| DISPATCH)?;
                Ok(rest)
            }
        }
    }

    /// The state, and the digest that the journal goes on from.
    pub(super) fn finish(self) -> Result<(FleetState, Sha256Digest), RecoverError> {
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
        };
        state.check_invariants().map_err(RecoverError::Inconsistent)?;
        Ok((state, head.chain))
    }
}

/// The item at the front of `items`, and the rest. An item has at least one byte, so this comes to an end.
fn take<T: DeserializeOwned>(items: &[u8]) -> Result<(T, &[u8]), RecoverError> {
    let (item, rest) = postcard::take_from_bytes(items).map_err(|_| RecoverError::Malformed)?;
    if rest.len() < items.len() { Ok((item, rest)) } else { Err(RecoverError::Malformed) }
}

impl FleetState {
    /// The state that a snapshot in one piece holds, and the digest that the journal goes on from.
    pub(crate) fn from_snapshot(
        bytes: &[u8],
        index_key: [u8; 16],
    ) -> Result<(Self, Sha256Digest), RecoverError> {
        let mut loader = Loader::new(index_key);
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = loader.chunk(rest)?;
        }
        loader.finish()
    }
}
