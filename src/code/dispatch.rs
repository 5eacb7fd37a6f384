//! Codes of the dispatch part, and of the node runtime around it.

use super::entry::codes;

codes! { DISPATCH:
    DISPATCH_POLICY = "dispatch.policy", "a dispatch policy contradicts itself or has a bound of zero";
    DISPATCH_REQUEST_UNKNOWN = "dispatch.request.unknown", "no such request, or it belongs to another client, or it was forgotten after its retention";
    DISPATCH_REQUEST_ID_CONFLICT = "dispatch.request.id_conflict", "a request with this id and other content exists";
    DISPATCH_REQUEST_FINAL = "dispatch.request.final", "the request has ended, and stays as it ended";
    DISPATCH_REQUEST_NOT_FINAL = "dispatch.request.not_final", "the request has not ended, so there is nothing to collect";
    DISPATCH_REQUEST_NOT_DISPATCHED = "dispatch.request.not_dispatched", "the request was not handed to the device, so the device cannot answer it";
    DISPATCH_REQUEST_OTHER_DEVICE = "dispatch.request.other_device", "the request was sent to another device";
    DISPATCH_REQUEST_STALE_ATTEMPT = "dispatch.request.stale_attempt", "the message speaks of another delivery than the last one";
    DISPATCH_REQUEST_LATE = "dispatch.request.late", "the deadline of the request has passed";
    DISPATCH_REQUEST_TOO_LARGE = "dispatch.request.too_large", "the payload of the request is over its limit";
    DISPATCH_REQUEST_RESULT_LIMIT = "dispatch.request.result_limit", "the request would take a larger result than the policy allows";
    DISPATCH_REQUEST_DEADLINE = "dispatch.request.deadline", "the request gives itself no time, or more than the policy allows";
    DISPATCH_SUCCEEDED = "dispatch.succeeded", "the request ended with a result";
    DISPATCH_FAILED_DEVICE = "dispatch.failed.device", "the request ended: the device tried and failed";
    DISPATCH_FAILED_LOST = "dispatch.failed.lost", "the request ended: the agent that had it is gone or has forgotten it, and it may have run in part";
    DISPATCH_FAILED_RESULT_TOO_LARGE = "dispatch.failed.result_too_large", "the request ended: the device answered with more than the request takes";
    DISPATCH_FAILED_UNDELIVERABLE = "dispatch.failed.undeliverable", "the request ended: it was delivered as often as allowed and never answered";
    DISPATCH_TIMED_OUT = "dispatch.timed_out", "the request ended: its deadline passed";
    DISPATCH_REJECTED_CANCELLED = "dispatch.rejected.cancelled", "the request ended: it was cancelled";
    DISPATCH_REJECTED_CAPABILITY_WITHDRAWN = "dispatch.rejected.capability_withdrawn", "the request ended: the capability was taken away, or is no longer claimed";
    DISPATCH_REJECTED_MEDIATION_DENIED = "dispatch.rejected.mediation_denied", "the request ended: the person at the device said no";
    DISPATCH_REJECTED_BY_DEVICE = "dispatch.rejected.by_device", "the request ended: the agent refused it before it ran";
    DISPATCH_REJECTED_QUARANTINE = "dispatch.rejected.quarantine", "the request ended: its device was quarantined";
    DISPATCH_REJECTED_REVOCATION = "dispatch.rejected.revocation", "the request ended: its device, or what that authenticates with, was revoked";
    DISPATCH_REJECTED_REPLACEMENT = "dispatch.rejected.replacement", "the request ended: another device was paired under the name of its device";
    DISPATCH_REJECTED_REMOVAL = "dispatch.rejected.removal", "the request ended: its device was removed";
    DISPATCH_FULL = "dispatch.full", "as many requests are open or remembered as the policy allows";
    DISPATCH_FULL_BYTES = "dispatch.full_bytes", "as many payload bytes are held or promised as the policy allows";
    DISPATCH_CLIENT_SHARE = "dispatch.client_share", "the client holds as many requests, or bytes, as one client may";
    DISPATCH_QUEUE_FULL = "dispatch.queue_full", "the queue of the device is full";
    DISPATCH_DEVICES_FULL = "dispatch.devices_full", "as many devices are known as the policy allows";
    DISPATCH_NO_DEVICE = "dispatch.no_device", "no device that may be used holds the capability and has room";
    DISPATCH_DEVICE_UNKNOWN = "dispatch.device.unknown", "the operator has granted nothing to such a device";
    DISPATCH_DEVICE_NOT_CONNECTED = "dispatch.device.not_connected", "the device has no stream open, or this one was given up";
    DISPATCH_DEVICE_STALE_INCARNATION = "dispatch.device.stale_incarnation", "a newer incarnation of the device has connected";
    DISPATCH_DEVICE_DRAINING = "dispatch.device.draining", "the device takes nothing new";
    DISPATCH_DEVICE_QUARANTINED = "dispatch.device.quarantined", "the device is not trusted";
    DISPATCH_DEVICE_REVOKED = "dispatch.device.revoked", "the device was revoked";
    DISPATCH_DEVICE_BUSY = "dispatch.device.busy", "the device still has open requests";
    DISPATCH_CAPABILITY_NOT_GRANTED = "dispatch.capability.not_granted", "the operator has not granted this capability to the device";
    DISPATCH_CAPABILITY_NOT_CLAIMED = "dispatch.capability.not_claimed", "the device does not claim this capability";
    DISPATCH_WINDOW = "dispatch.window", "the device offers to take more requests at once than the policy allows";
    DISPATCH_MEDIATION_MISSING = "dispatch.mediation.missing", "the capability needs a local approval, and the device answered without reporting one";
    DISPATCH_MEDIATION_OUT_OF_ORDER = "dispatch.mediation.out_of_order", "a local approval was reported that nobody was waiting for";
    DISPATCH_STALE_DECISION = "dispatch.stale_decision", "the state has changed since the decision was made";
    DISPATCH_INCONSISTENT = "dispatch.inconsistent", "a snapshot or journal holds something that cannot have happened";
}
