//! Client sessions: a client that repeats an operation gets the answer of the first time.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{command_rejection::CommandError, folding::Folding, principal::CommandId};
use crate::{
    digest::Sha256Digest,
    id::ClientId,
    time::{Millis, Mono},
};

/// An accepted operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    content: Sha256Digest,
    answer: Vec<u8>,
}

/// The remembered operations of one client session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The lowest sequence number that may still be used.
    base: u64,
    entries: BTreeMap<u64, Remembered>,
    last: Mono,
}

/// The approximate size of an entry besides the bytes of its answer.
const ENTRY_BYTES: u64 = 64;

impl Session {
    /// The bytes of the answers that the session remembers.
    fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| bytes_of(&entry.answer)).fold(0, u64::saturating_add)
    }
}

fn bytes_of(answer: &[u8]) -> u64 {
    ENTRY_BYTES.saturating_add(answer.len() as u64)
}

/// The sessions of all clients, bounded in number, in width and in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    by_client: BTreeMap<ClientId, Session>,
    by_age: BTreeSet<(Mono, ClientId)>,
    /// The bytes of all remembered answers. Derived from the sessions.
    bytes: u64,
}

impl Sessions {
    /// The answer that `command` got before; `None` if it is new.
    pub(crate) fn find(
        &self,
        command: &CommandId,
        content: Sha256Digest,
    ) -> Result<Option<&[u8]>, CommandError> {
        let Some(session) = self.by_client.get(&command.client) else { return Ok(None) };
        let sequence = command.sequence;
        match session.entries.get(&sequence) {
            Some(entry) if entry.content == content => Ok(Some(&entry.answer)),
            Some(_) => Err(CommandError::Conflict { sequence }),
            None if sequence < session.base => Err(CommandError::TooOld { sequence, base: session.base }),
            None => Ok(None),
        }
    }

    /// Whether there is room to remember an operation of `client`.
    pub(crate) fn admits(&self, client: &ClientId, limit: u32, memory: Millis, now: Mono) -> bool {
        self.by_client.contains_key(client)
            || u32::try_from(self.by_client.len()).is_ok_and(|count| count < limit)
            || self.by_age.first().is_some_and(|(last, _)| last.plus(memory) <= now)
    }

    /// Whether `answer` fits into `limit` bytes beside the remembered answers, less what remembering it
    /// forgets.
    pub(crate) fn has_room(
        &self,
        answer: &[u8],
        limit: u64,
        memory: Millis,
        now: Mono,
        folding: Folding,
    ) -> bool {
        let needed = self.bytes.saturating_add(bytes_of(answer));
        if needed <= limit {
            return true;
        }
        let oldest = self.by_age.iter().take(folding.forgotten());
        let over = oldest.take_while(|(last, _)| last.plus(memory) <= now);
        let freed = over.filter_map(|(_, client)| self.by_client.get(client)).map(Session::bytes);
        needed.saturating_sub(freed.fold(0, u64::saturating_add)) <= limit
    }

    /// The bytes of all remembered answers.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Remembers an operation. Forgets operations below the window, and sessions that have been idle for
    /// `memory`.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is a value of the record, or of the policy that it is folded under"
    )]
    pub(crate) fn remember(
        &mut self,
        command: &CommandId,
        content: Sha256Digest,
        answer: Vec<u8>,
        width: u32,
        memory: Millis,
        now: Mono,
        folding: Folding,
    ) {
        for _ in 0..folding.forgotten() {
            let Some((last, client)) = self.by_age.first() else { break };
            if last.plus(memory) > now || *client == command.client {
                break;
            }
            let former = self.by_client.remove(client);
            self.bytes = self.bytes.saturating_sub(former.map_or(0, |session| session.bytes()));
            self.by_age.pop_first();
        }
        let session = self.by_client.entry(command.client.clone()).or_default();
        self.by_age.remove(&(session.last, command.client.clone()));
        session.last = now;
        self.by_age.insert((now, command.client.clone()));
        self.bytes = self.bytes.saturating_add(bytes_of(&answer));
        if let Some(former) = session.entries.insert(command.sequence, Remembered { content, answer }) {
            self.bytes = self.bytes.saturating_sub(bytes_of(&former.answer));
        }
        while session.entries.len() > usize::try_from(width).unwrap_or(usize::MAX) {
            if let Some((sequence, former)) = session.entries.pop_first() {
                self.bytes = self.bytes.saturating_sub(bytes_of(&former.answer));
                session.base = session.base.max(sequence.saturating_add(1));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Every session, by client.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&ClientId, &Session)> {
        self.by_client.iter()
    }

    /// Loads a session from a snapshot.
    pub(crate) fn load(&mut self, client: ClientId, session: Session) {
        self.bytes = self.bytes.saturating_add(session.bytes());
        self.by_age.insert((session.last, client.clone()));
        self.by_client.insert(client, session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_gets_its_answer_and_a_number_below_the_window_is_too_old() {
        let mut sessions = Sessions::default();
        let command = |sequence| CommandId { client: ClientId::new("c").unwrap(), sequence };
        let content = |n: u8| Sha256Digest::of(&[n]);
        for n in 1..=4 {
            assert_eq!(sessions.find(&command(n.into()), content(n)), Ok(None));
            sessions.remember(
                &command(n.into()),
                content(n),
                [n].into(),
                2,
                Millis(1000),
                Mono(n.into()),
                Folding::V1,
            );
        }
        assert_eq!(sessions.find(&command(4), content(4)), Ok(Some(&[4][..])));
        assert_eq!(sessions.find(&command(4), content(9)), Err(CommandError::Conflict { sequence: 4 }));
        assert_eq!(
            sessions.find(&command(2), content(2)),
            Err(CommandError::TooOld { sequence: 2, base: 3 })
        );
        let other = ClientId::new("d").unwrap();
        assert!(!sessions.admits(&other, 1, Millis(1000), Mono(1003)));
        assert!(sessions.admits(&other, 1, Millis(1000), Mono(1004)));
        // Two answers of one byte are left. A session that has been idle for long enough makes room.
        let room = |answer: usize, now| {
            let answer = alloc::vec![0; answer];
            sessions.has_room(&answer, 3 * (ENTRY_BYTES + 1), Millis(1000), Mono(now), Folding::V1)
        };
        assert_eq!(sessions.bytes(), 2 * (ENTRY_BYTES + 1));
        assert!(room(1, 5) && !room(2, 5) && !room(2, 1003) && room(2, 1004));
    }
}
