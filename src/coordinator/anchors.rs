//! What every connected device is told of the certificates that take over from the coordinator's and its authorities'.

use alloc::vec::Vec;

use super::{connection::Connection, endpoint::Coordinator, io::ConnectionId};
use crate::{
    identity::{DeviceKind, TrustAnchors},
    protocol::message::{AnchorNotice, CoordinatorMessage, NodeWord},
    time::Now,
};

/// A session that is open on a connection, and is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Session {
    Worker,
    /// A paired device's stream, or an enforcement point's feed.
    Device,
}

impl Session {
    /// One connection may carry a worker and a device that streams.
    fn open_on(connection: &Connection) -> impl Iterator<Item = Self> {
        let is_worker = connection.kind == DeviceKind::Worker;
        let worker = (is_worker && connection.welcomed).then_some(Self::Worker);
        let device = (connection.node.welcomed || !is_worker && connection.welcomed).then_some(Self::Device);
        worker.into_iter().chain(device)
    }
}

impl Coordinator {
    /// A session has opened: it hears what there is to say, where there is something.
    pub(super) fn tell(&mut self, id: ConnectionId, session: Session, now: Now) {
        let Some(notice) = self.notice.clone() else { return };
        match session {
            Session::Worker => self.send(id, &CoordinatorMessage::Anchors(notice), now),
            Session::Device => self.send(id, &NodeWord::Anchors(notice), now),
        }
    }

    /// Something was announced or taken back, and lasts. Cost: the number of connections, as for every act on all.
    pub(super) fn tell_everybody(&mut self, anchors: &TrustAnchors, now: Now) {
        self.notice = AnchorNotice::of(anchors, self.manager.certificate());
        let mut open = Vec::new();
        for (id, connection) in &self.connections {
            open.extend(Session::open_on(connection).map(|session| (*id, session)));
        }
        for (id, session) in open {
            self.tell(id, session, now);
        }
    }
}
