//! What goes into a coordinator and what comes out.

use alloc::{boxed::Box, string::String, vec::Vec};

use crate::{
    code::Code,
    digest::Sha256Digest,
    dispatch::{Enqueued, RequestState},
    fleet::{
        AcceptWall, Acquire, AcquireError, Acquired, CancelRequest, CollectResult, Drain, Enqueue,
        ForceCleanup, JournalBatch, LogId, ManageAnchors, ManageDevice, ManageError, Managed, NodeError,
        OrderDispatch, QuarantineAll, QuarantineWorker, Release, Retire, Reverify, RevokeRun, Revoked,
        SetPolicy, Undrain,
    },
    id::{ClientId, DeviceId, OrderId, RequestId, SessionId},
    identity::{
        DeviceKind, StandingTerms,
        pairing::{
            ApprovalRequest, EnrolmentOffered, Offered, PairingMethod, PairingTarget, VerifiedPairing,
        },
    },
    lease::{Epoch, Fence, Inspection, RelativePath, WorkerLease},
    protocol::chunk::Stream,
    time::Mono,
};

/// The driver's name for a connection. Never used again after it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_structs, reason = "a number of the driver's")]
pub struct ConnectionId(pub u64);

/// The caller's name for a local request; the answer carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_structs, reason = "a number of the caller's")]
pub struct RequestTag(pub u64);

/// Names a look at what a worker cleaned up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InspectionId(pub(super) u64);

/// Names a certificate that a device waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId(pub(super) u64);

/// What a coordinator is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum CoordinatorInput<'a> {
    /// A connection stands. Its peer proved that it holds the key of the certificate, resumed sessions included.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// The peer's certificate, exact DER.
        leaf: &'a [u8],
    },
    /// A connection stands whose peer showed no certificate: it can pair, and nothing else.
    Stranger {
        /// The connection.
        connection: ConnectionId,
    },
    /// Bytes came, cut anywhere.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The connection took this many bytes of what it was handed.
    Sent {
        /// The connection.
        connection: ConnectionId,
        /// How many.
        bytes: usize,
    },
    /// The connection is over.
    Closed {
        /// The connection.
        connection: ConnectionId,
    },
    /// A service asks. The caller has authenticated it.
    Service {
        /// The caller's name for this request.
        tag: RequestTag,
        /// Who asks.
        client: ClientId,
        /// The client's own number, for an answer that may have to be asked for again.
        sequence: Option<u64>,
        /// What is asked.
        request: ServiceRequest,
    },
    /// An operator asks. The caller has authenticated them.
    Operator {
        /// The caller's name for this request.
        tag: RequestTag,
        /// Who asks.
        client: ClientId,
        /// The client's own number, for an answer that may have to be asked for again.
        sequence: Option<u64>,
        /// What is asked.
        command: OperatorCommand,
    },
    /// The issuer has signed the certificate of a pairing that [`LocalAnswer::Approved`] handed out.
    CompletePairing {
        /// The caller's name for this request.
        tag: RequestTag,
        /// What was approved.
        pairing: Box<VerifiedPairing>,
        /// The certificate, exact DER.
        certificate: &'a [u8],
    },
    /// The issuer has signed what [`CoordinatorOutput::CertificateWanted`] asked for, or will not.
    Certificate {
        /// Which.
        wanted: CertificateId,
        /// The certificate, exact DER; `None` where the issuer refuses.
        certificate: Option<&'a [u8]>,
    },
    /// The next piece of an input that [`CoordinatorOutput::InputsWanted`] asked for. Where it is
    /// [`EndpointError::Full`](crate::protocol::endpoint::EndpointError::Full), try again after the next
    /// [`CoordinatorInput::Sent`]; where it is not now, nobody wants it any more.
    Deliver {
        /// The lease.
        fence: Fence,
        /// The file.
        path: &'a RelativePath,
        /// At most [`MAX_CHUNK_BYTES`](crate::protocol::chunk::MAX_CHUNK_BYTES).
        content: &'a [u8],
    },
    /// Somebody looked, as [`CoordinatorOutput::Inspect`] asked.
    Inspected {
        /// Which look.
        inspection: InspectionId,
        /// What was found; `None` where nobody could look.
        found: Option<Inspection>,
    },
    /// The batch that ends with this record lasts.
    Durable(LogId),
    /// The write of the last batch failed, or nobody knows. Only recovery goes on from here.
    JournalFailed,
    /// Time has passed.
    Timeout,
}

/// What a service may ask.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named after the operations")]
pub enum ServiceRequest {
    Acquire(Box<Acquire>),
    RevokeRun(RevokeRun),
    Enqueue(Box<Enqueue>),
    CancelRequest(CancelRequest),
    CollectResult(CollectResult),
}

/// What an operator may ask.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named after the operations")]
pub enum OperatorCommand {
    QuarantineWorker(QuarantineWorker),
    QuarantineAll(QuarantineAll),
    /// Believes the wall clock again, after a leap.
    AcceptWall(AcceptWall),
    Release(Release),
    Drain(Drain),
    Undrain(Undrain),
    Reverify(Reverify),
    ForceCleanup(ForceCleanup),
    Retire(Retire),
    SetPolicy(SetPolicy),
    ManageAnchors(ManageAnchors),
    ManageDevice(ManageDevice),
    RevokeRun(RevokeRun),
    OrderDispatch(OrderDispatch),
    CancelRequest(CancelRequest),
    /// Opens a pairing session; the answer holds its code.
    OfferPairing {
        method: PairingMethod,
        target: PairingTarget,
    },
    /// Says yes to what [`CoordinatorOutput::ApprovalWanted`] showed.
    ApprovePairing {
        session: SessionId,
        transcript: Sha256Digest,
    },
    /// Says no to it.
    RejectPairing {
        session: SessionId,
    },
    /// Takes an offer back.
    CancelPairing {
        session: SessionId,
    },
    /// Gives out an enrolment key; the answer holds its code.
    OpenEnrolment {
        order: OrderId,
        terms: StandingTerms,
    },
    /// Takes it back.
    RevokeEnrolment {
        order: OrderId,
    },
}

/// The answer to a local request.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalAnswer {
    /// To [`ServiceRequest::Acquire`].
    Acquired(Result<Box<Acquired>, AcquireError>),
    /// To a `RevokeRun`.
    Revoked(Result<Revoked, ManageError>),
    /// To every other command of an operator.
    Managed(Result<Managed, ManageError>),
    /// To [`ServiceRequest::Enqueue`].
    Enqueued(Result<Enqueued, NodeError>),
    /// To what is asked about requests and pairings, where there is nothing more to say.
    Done(Result<(), NodeError>),
    /// To [`OperatorCommand::OfferPairing`].
    Offered(Result<Box<Offered>, NodeError>),
    /// To [`OperatorCommand::OpenEnrolment`].
    Enrolment(Result<Box<EnrolmentOffered>, NodeError>),
    /// To [`OperatorCommand::ApprovePairing`]: for the issuer, and then [`CoordinatorInput::CompletePairing`].
    Approved(Result<Box<VerifiedPairing>, NodeError>),
    /// To [`CoordinatorInput::CompletePairing`].
    Paired(Result<DeviceId, NodeError>),
}

/// What a coordinator wants done, in order.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoordinatorOutput {
    /// Send these bytes.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close the connection. It is forgotten already.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// Why; the peer is told no more than that it is closed.
        code: Code,
    },
    /// Append this to the journal and sync it, then say so.
    Persist(JournalBatch),
    /// The answer to a local request.
    Answer {
        /// The caller's name for the request.
        tag: RequestTag,
        /// The answer.
        answer: LocalAnswer,
    },
    /// A worker takes its lease up and wants its inputs from their beginning: [`CoordinatorInput::Deliver`].
    InputsWanted {
        /// The lease.
        fence: Fence,
    },
    /// A piece of an output or log of the lease's holder, to be kept until the run's verdict. At offset 0 the stream
    /// begins, or begins anew.
    Artifact {
        /// The lease.
        fence: Fence,
        /// The stream.
        stream: Stream,
        /// Where the piece belongs.
        offset: u64,
        /// The piece.
        content: Vec<u8>,
    },
    /// Look at what is left of a lease: [`CoordinatorInput::Inspected`].
    Inspect {
        /// Which look.
        inspection: InspectionId,
        /// The lease, where this process still knows it.
        lease: Option<Box<WorkerLease>>,
    },
    /// A device has proved the code of a pairing: show this to an operator, whole, for
    /// [`OperatorCommand::ApprovePairing`] or [`OperatorCommand::RejectPairing`].
    ApprovalWanted(Box<ApprovalRequest>),
    /// A device has proved an enrolment key, which an operator allowed in advance: for the issuer, and then
    /// [`CoordinatorInput::CompletePairing`].
    Enrolled(Box<VerifiedPairing>),
    /// A device wants its next certificate: have it signed, and say [`CoordinatorInput::Certificate`].
    CertificateWanted {
        /// Which.
        wanted: CertificateId,
        /// The device, as the certificate has to name it.
        device: DeviceId,
        /// The certificate request (PKCS #10, DER). Its signature is for the issuer to check.
        request: Vec<u8>,
    },
    /// A client's request to a device has ended; its result is in the fleet's state until it is collected.
    Finished {
        /// The client.
        client: ClientId,
        /// The request.
        request: RequestId,
        /// How.
        state: RequestState,
    },
    /// For the log.
    Event(CoordinatorEvent),
    /// Nothing more. Come back with the next input, and with [`CoordinatorInput::Timeout`] at this instant.
    Wait(Option<Mono>),
}

/// Something for the log. What came from a peer is in it only as validated ids, codes and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoordinatorEvent {
    /// A connection was authenticated.
    Opened {
        /// The connection.
        connection: ConnectionId,
        /// The device.
        device: DeviceId,
        /// What it is.
        kind: DeviceKind,
    },
    /// A device is there whose certificate has expired: it may ask for the next one, and nothing else.
    Renewing {
        /// The connection.
        connection: ConnectionId,
        /// The device.
        device: DeviceId,
    },
    /// A connection was refused that was made with a certificate of this device that another took over from: the device's
    /// identity may be in two places.
    CloneNoticed {
        /// The device.
        device: DeviceId,
        /// The policy revokes it for that; an operator finds out which of the two is the device, and pairs it anew.
        latches: bool,
    },
    /// A peer without a certificate is there; it can pair.
    Stranger {
        /// The connection.
        connection: ConnectionId,
    },
    /// A pairing message was refused. The peer is told no reason.
    PairingRefused {
        /// The session.
        session: SessionId,
        /// Why.
        code: Code,
    },
    /// The certificate is the next one of a rotation, and has been used, which ends the rotation.
    RotationUsed {
        /// The device.
        device: DeviceId,
    },
    /// A connection was refused or closed from this side.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// The device, where there was one.
        device: Option<DeviceId>,
        /// Why.
        code: Code,
    },
    /// A request of a device was refused.
    Refused {
        /// The device.
        device: DeviceId,
        /// What it asked.
        asked: &'static str,
        /// Why.
        code: Code,
        /// The facts that led to it, for people.
        facts: String,
    },
    /// A piece of an artifact was not taken.
    ArtifactRefused {
        /// The device.
        device: DeviceId,
        /// The lease that it names.
        fence: Fence,
        /// Why.
        code: Code,
    },
    /// A device says that it has seen a higher epoch. Where that is true this coordinator has been replaced and has to stop;
    /// a device can say so without having seen it, so ask the epoch store.
    Deposed {
        /// The epoch that the device names.
        seen: Epoch,
    },
    /// The core cannot go on: recover.
    Halted,
}
