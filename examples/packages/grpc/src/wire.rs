//! From an endpoint's bytes to the messages of a stream, the same on both sides.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::Stream;

use crate::proto::Piece;

/// The most bytes of one message, far below what a gRPC implementation takes at least.
const PIECE: usize = 64 << 10;

/// What an endpoint says on one connection, as a stream of messages; it ends when the connection is closed on this side.
///
/// The queue needs no bound of its own: an endpoint bounds what it has handed out and was not told of as sent. A message is
/// made when HTTP/2 has room for it, so what `took` is told has left this process's hands.
pub struct Outgoing<T> {
    queue: UnboundedReceiver<Vec<u8>>,
    rest: Vec<u8>,
    took: T,
}

impl<T: Fn(usize)> Outgoing<T> {
    /// A stream of what is put into `queue`; `took` is told how many bytes the stream took.
    pub fn new(queue: UnboundedReceiver<Vec<u8>>, took: T) -> Self {
        Self { queue, rest: Vec::new(), took }
    }
}

impl<T: Fn(usize) + Unpin> Stream for Outgoing<T> {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        while self.rest.is_empty() {
            match self.queue.poll_recv(context) {
                Poll::Ready(Some(bytes)) => self.rest = bytes,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let end = self.rest.len().min(PIECE);
        let after = self.rest.split_off(end);
        let frames = std::mem::replace(&mut self.rest, after);
        (self.took)(frames.len());
        Poll::Ready(Some(Piece { frames }))
    }
}
