//! What every connected device is told of the certificates that take over from the coordinator's and its authorities'.

use super::{io::ConnectionId, parts::Coordinator};
use crate::{
    identity::{DeviceKind, TrustAnchors},
    protocol::message::{AnchorNotice, CoordinatorMessage, NodeWord},
    time::Now,
};

impl Coordinator {
    /// A session has opened on the connection, or something was announced or taken back: it hears what there is to say.
    /// One connection may carry a worker and a device that streams.
    pub(super) fn tell_anchors(&mut self, id: ConnectionId, now: Now) {
        let (notice, number) = self.notice.clone();
        let Some(device) = self.connections.device_mut(id) else { return };
        let is_worker = device.kind == DeviceKind::Worker;
        let worker = is_worker && device.welcomed && device.told_worker != number;
        let open = device.node.welcomed || !is_worker && device.welcomed;
        let other = open && device.told_device != number;
        if worker {
            device.told_worker = number;
        }
        if other {
            device.told_device = number;
        }
        let Some(notice) = notice else { return };
        if worker {
            self.send(id, &CoordinatorMessage::Anchors(notice.clone()), now);
        }
        if other {
            self.send(id, &NodeWord::Anchors(notice), now);
        }
    }

    /// Something was announced or taken back, and lasts: the next round tells it.
    pub(super) fn announce(&mut self, anchors: &TrustAnchors) {
        let notice = AnchorNotice::of(anchors, self.manager.certificate());
        self.notice = (notice, self.notice.1.saturating_add(1));
        self.round.begin();
    }
}
