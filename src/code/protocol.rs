//! Codes of the protocol part: frames, messages, endpoints, and the `explain` line protocol.

use super::codes;

codes! { PROTOCOL:
    EXPLAIN_MALFORMED = "explain.malformed", "a line is not one JSON object of the shape that its kind asks for";
    EXPLAIN_UNKNOWN_KIND = "explain.unknown_kind", "no such kind of question";
    EXPLAIN_TOO_LONG = "explain.too_long", "a line is over 8 MiB";
    FRAME_MAGIC = "frame.magic", "the bytes do not begin as a frame does";
    FRAME_VERSION = "frame.version", "the peer speaks a version of the protocol that this end does not";
    FRAME_KIND = "frame.kind", "the kind of a frame is unknown";
    FRAME_TOO_LARGE = "frame.too_large", "a frame is over the limit of its kind";
    FRAME_DIRECTION = "frame.direction", "this end receives no frames of this kind";
    FRAME_STALLED = "frame.stalled", "the rest of a frame did not come in time";
    CHUNK_MALFORMED = "chunk.malformed", "a piece of an artifact is malformed";
    CHUNK_TOO_LARGE = "chunk.too_large", "a piece of an artifact is over its bound";
    CHUNK_GAP = "chunk.gap", "a piece of an artifact does not follow the piece before it";
    CHUNK_NOT_HELD = "chunk.not_held", "a piece of an artifact is for a lease that its sender does not hold";
    MESSAGE_ORDER = "message.order", "a message does not belong where it came in its session";
    MESSAGE_UNASKED = "message.unasked", "an answer is to a question that was not asked";
    CONNECTION_TOO_MANY = "connection.too_many", "there are as many connections as there may be";
    CONNECTION_UNKNOWN = "connection.unknown", "there is no such connection";
    CONNECTION_KNOWN = "connection.known", "the connection is there already";
    CONNECTION_SILENT = "connection.silent", "the peer said nothing for too long";
    CONNECTION_SLOW_READER = "connection.slow_reader", "the peer does not read what it is sent";
    CONNECTION_TOO_FAST = "connection.too_fast", "the peer asks for more than it lets be answered";
    CONNECTION_REPLACED = "connection.replaced", "the device has made a newer connection";
    CONNECTION_KIND = "connection.kind", "a device of this kind has nothing to say here";
    CONNECTION_CLOSED = "connection.closed", "the connection was closed";
    COORDINATOR_OTHER_CERTIFICATE = "coordinator.other_certificate", "the coordinator does not have the certificate that is expected";
    COORDINATOR_LOWER_EPOCH = "coordinator.lower_epoch", "the coordinator's epoch is lower than one that was seen";
    COORDINATOR_SILENT = "coordinator.silent", "the coordinator said nothing for too long";
    ENDPOINT_NOT_DRAINED = "endpoint.not_drained", "an endpoint was given input before its output was drained";
    ENDPOINT_TIME_BACKWARDS = "endpoint.time_backwards", "an endpoint was given a time before one that it was given";
    ENDPOINT_NOT_NOW = "endpoint.not_now", "an endpoint was told something that does not fit what it is doing";
    ENDPOINT_FULL = "endpoint.full", "an endpoint holds as much output as it may";
    ENDPOINT_CONFIG = "endpoint.config", "the configuration of an endpoint contradicts itself";
    INPUT_MISMATCH = "input.mismatch", "an input that arrived is not the one that the lease names";
    FEED_GAP = "feed.gap", "a step of the lease feed is missing";
    FEED_REPLAYED = "feed.replayed", "a step of the lease feed came again, or answers an earlier subscription";
    FEED_LOWER_EPOCH = "feed.lower_epoch", "the lease feed comes from an epoch lower than one that was seen";
    FEED_ORDER = "feed.order", "a step of the lease feed does not belong where it came";
    FEED_SILENT = "feed.silent", "the lease feed was silent for longer than the view may be stale";
    FEED_UNSYNCED = "feed.unsynced", "the view has not been told everything yet";
    FEED_FULL = "feed.full", "the lease feed names more leases than the view may hold";
    FEED_LEASE_UNKNOWN = "feed.lease_unknown", "the view knows no such lease";
    FEED_LEASE_EXPIRED = "feed.lease_expired", "the lease is over on the view's own clock";
    FEED_LEASE_ENDED = "feed.lease_ended", "the coordinator ended the lease";
    EPOCH_STORE_FAILED = "epoch.store_failed", "the durable epoch could not be read or written";
    EPOCH_STORE_MALFORMED = "epoch.store_malformed", "the durable epoch is not what was written";
    EPOCH_STORE_BUSY = "epoch.store_busy", "another process holds the durable epoch";
    JOURNAL_FAILED = "journal.failed", "a journal write failed or is in doubt";
    RESOLVE_FAILED = "resolve.failed", "the name could not be resolved";
}
