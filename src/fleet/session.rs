//! Remembered operations: a client that repeats one gets the answer that it got before.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::{principal::CommandId, rejection::CommandError, spent::FORGOTTEN};
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

/// The window of one client session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The lowest sequence number that may still be used.
    base: u64,
    entries: BTreeMap<u64, Remembered>,
    last: Mono,
}

/// The sessions of all clients, bounded in number and in width.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    by_client: BTreeMap<ClientId, Session>,
    by_age: BTreeSet<(Mono, ClientId)>,
}

impl Sessions {
    /// The answer that `command` got before; `None` where it is new.
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

    /// Remembers an operation, and forgets what the window or time has passed.
    pub(crate) fn remember(
        &mut self,
        command: &CommandId,
        content: Sha256Digest,
        answer: Vec<u8>,
        width: u32,
        memory: Millis,
        now: Mono,
    ) {
        for _ in 0..FORGOTTEN {
            let Some((last, client)) = self.by_age.first() else { break };
            if last.plus(memory) > now || *client == command.client {
                break;
            }
            self.by_client.remove(client);
            self.by_age.pop_first();
        }
        let session = self.by_client.entry(command.client.clone()).or_default();
        self.by_age.remove(&(session.last, command.client.clone()));
        session.last = now;
        self.by_age.insert((now, command.client.clone()));
        session.entries.insert(command.sequence, Remembered { content, answer });
        while session.entries.len() > usize::try_from(width).unwrap_or(usize::MAX) {
            if let Some((sequence, _)) = session.entries.pop_first() {
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

    /// Takes in a session that a snapshot held.
    pub(crate) fn load(&mut self, client: ClientId, session: Session) {
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
            sessions.remember(&command(n.into()), content(n), [n].into(), 2, Millis(1000), Mono(n.into()));
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
    }
}
