//! Bodies, read and written in the framing of either version: what lies between two connections.

use std::{fmt, future::poll_fn, io};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use leasehold::egress::http1::{ChunkDecoder, Field, Framing, HttpError};

use super::stream::{Reader, Writer};

/// Why a body is not whole.
#[derive(Debug)]
pub enum BodyError {
    /// The connection failed.
    Io(io::Error),
    /// It ended before it was whole.
    Cut,
    /// Its chunks are malformed.
    Http(HttpError),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => fmt::Display::fmt(error, f),
            Self::Cut => f.write_str("the body ended before it was whole"),
            Self::Http(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl From<h2::Error> for BodyError {
    fn from(error: h2::Error) -> Self {
        Self::Io(io_error(error))
    }
}

/// What h2 says, as an I/O error.
pub fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    io::Error::other(error)
}

/// How much of a body of HTTP/1 is left.
enum Left {
    Bytes(u64),
    Chunks(ChunkDecoder),
    UntilClose,
}

/// A body on its way in.
pub enum BodyReader {
    /// By HTTP/1; the connection is there again behind it.
    H1(H1Body),
    /// None: nothing comes.
    None,
    /// One that was read to its end before, and where it came from.
    Held(Bytes, Box<Self>),
    /// By HTTP/2.
    H2 {
        /// The stream.
        stream: RecvStream,
        /// The length that its head said, as far as it has not come yet.
        left: Option<u64>,
    },
}

/// A body of HTTP/1 on its way in.
pub struct H1Body {
    reader: Reader,
    left: Left,
}

impl H1Body {
    /// The body that follows in `reader`.
    pub fn new(reader: Reader, framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(length) => Left::Bytes(length),
            Framing::Chunked => Left::Chunks(ChunkDecoder::new()),
            Framing::UntilClose => Left::UntilClose,
        };
        Self { reader, left }
    }

    /// Whether anything was read that lies behind what was used.
    pub fn has_more(&self) -> bool {
        !self.reader.buffer.is_empty()
    }

    fn is_over(&self) -> bool {
        match &self.left {
            Left::Bytes(left) => *left == 0,
            Left::Chunks(decoder) => decoder.is_done(),
            Left::UntilClose => false,
        }
    }

    /// The next piece of what was read already. `None`: more has to be read.
    fn take(&mut self) -> Result<Option<Bytes>, BodyError> {
        let buffer = &mut self.reader.buffer;
        if buffer.is_empty() {
            return Ok(None);
        }
        match &mut self.left {
            Left::Bytes(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= most as u64;
                Ok(Some(buffer.split_to(most).freeze()))
            }
            Left::Chunks(decoder) => {
                let mut piece = Vec::new();
                let decoded = decoder.decode(buffer, &mut piece).map_err(BodyError::Http)?;
                buffer.advance(decoded.consumed);
                Ok((!piece.is_empty()).then(|| piece.into()))
            }
            Left::UntilClose => Ok(Some(buffer.split().freeze())),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if self.is_over() {
                return Ok(None);
            }
            if let Some(piece) = self.take()? {
                return Ok(Some(piece));
            }
            if !self.is_over() && self.reader.fill().await.map_err(BodyError::Io)? == 0 {
                return match self.left {
                    Left::UntilClose => Ok(None),
                    _ => Err(BodyError::Cut),
                };
            }
        }
    }
}

impl BodyReader {
    /// Nothing.
    pub const fn none() -> Self {
        Self::None
    }

    /// A body of HTTP/2. Its length, where the head says one, is checked by h2 as well.
    pub const fn h2(stream: RecvStream, length: Option<u64>) -> Self {
        Self::H2 { stream, left: length }
    }

    /// Reads the body to its end, and holds it. `None` where it has more than `most` bytes.
    pub async fn hold(&mut self, most: u64) -> Result<Option<Bytes>, BodyError> {
        let mut held = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if (held.len() + piece.len()) as u64 > most {
                return Ok(None);
            }
            held.extend_from_slice(&piece);
        }
        let held = held.freeze();
        let from = std::mem::replace(self, Self::None);
        *self = Self::Held(held.clone(), Box::new(from));
        Ok(Some(held))
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self {
            Self::None => Ok(None),
            Self::Held(bytes, _) => Ok((!bytes.is_empty()).then(|| std::mem::take(bytes))),
            Self::H1(body) => body.next().await,
            Self::H2 { stream, left } => match stream.data().await {
                Some(piece) => {
                    let piece = piece?;
                    stream.flow_control().release_capacity(piece.len())?;
                    if let Some(left) = left {
                        *left = left.checked_sub(piece.len() as u64).ok_or(BodyError::Cut)?;
                    }
                    Ok(Some(piece))
                }
                None if left.is_some_and(|left| left > 0) => Err(BodyError::Cut),
                None => Ok(None),
            },
        }
    }

    /// Whether the next piece is there without waiting.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::None | Self::Held(..) => true,
            Self::H1(body) => body.is_over() || !body.reader.buffer.is_empty(),
            Self::H2 { stream, .. } => stream.is_end_stream(),
        }
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        match self {
            Self::None => true,
            Self::Held(bytes, _) => bytes.is_empty(),
            Self::H1(body) => body.is_over(),
            Self::H2 { stream, .. } => stream.is_end_stream(),
        }
    }

    /// The trailers behind the end that may be passed on.
    pub async fn trailers(&mut self) -> Result<Vec<Field>, BodyError> {
        match self {
            Self::H1(H1Body { left: Left::Chunks(decoder), .. }) => Ok(decoder.trailers().to_vec()),
            Self::None | Self::Held(..) | Self::H1(_) => Ok(Vec::new()),
            Self::H2 { stream, .. } => {
                let trailers = stream.trailers().await?.unwrap_or_default();
                Ok(trailers
                    .iter()
                    .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                    .filter(|(name, _)| leasehold::egress::http1::may_trail(name))
                    .collect())
            }
        }
    }

    /// The connection behind a body of HTTP/1, wherever it is in it.
    pub fn into_reader(self) -> Option<Reader> {
        match self {
            Self::H1(body) => Some(body.reader),
            Self::Held(_, from) => from.into_reader(),
            Self::None | Self::H2 { .. } => None,
        }
    }

    /// Waits until the sender has left, once its body is over.
    pub async fn gone(&mut self) {
        match self {
            Self::H1(body) => body.reader.gone().await,
            Self::Held(_, from) => Box::pin(from.gone()).await,
            // The reset of a stream ends its answer, which is where it is noticed.
            Self::None | Self::H2 { .. } => std::future::pending().await,
        }
    }
}

/// A body on its way out.
pub enum BodyWriter {
    /// By HTTP/1.
    H1 {
        /// The connection.
        writer: Writer,
        /// The framing that the head said.
        framing: Framing,
    },
    /// By HTTP/2.
    H2 {
        /// The stream.
        stream: SendStream<Bytes>,
        /// Whether its end was said with the head.
        ended: bool,
    },
}

impl BodyWriter {
    /// Writes a piece. It may wait in a buffer until [`BodyWriter::flush`].
    pub async fn data(&mut self, piece: Bytes) -> io::Result<()> {
        match self {
            _ if piece.is_empty() => Ok(()),
            Self::H1 { writer, framing: Framing::Chunked } => {
                writer.write(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                writer.write(&piece).await?;
                writer.write(b"\r\n").await
            }
            Self::H1 { writer, .. } => writer.write(&piece).await,
            Self::H2 { stream, .. } => {
                let mut piece = piece;
                while !piece.is_empty() {
                    stream.reserve_capacity(piece.len());
                    let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
                    let room = room.ok_or(io::ErrorKind::BrokenPipe)?.map_err(io_error)?;
                    let part = piece.split_to(room.min(piece.len()));
                    stream.send_data(part, false).map_err(io_error)?;
                }
                Ok(())
            }
        }
    }

    /// Writes what waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::H1 { writer, .. } => writer.flush().await,
            Self::H2 { .. } => Ok(()),
        }
    }

    /// Says the end, with trailers where the framing has room for them.
    pub async fn end(&mut self, trailers: &[Field]) -> io::Result<()> {
        match self {
            Self::H1 { writer, framing: Framing::Chunked } => {
                writer.write(b"0\r\n").await?;
                for (name, value) in trailers {
                    writer.write(&[name.as_bytes(), b": ", value, b"\r\n"].concat()).await?;
                }
                writer.write(b"\r\n").await?;
                writer.flush().await
            }
            Self::H1 { writer, .. } => writer.flush().await,
            Self::H2 { ended: true, .. } => Ok(()),
            Self::H2 { stream, ended } => {
                *ended = true;
                if trailers.is_empty() {
                    stream.send_data(Bytes::new(), true).map_err(io_error)
                } else {
                    stream.send_trailers(header_map(trailers)).map_err(io_error)
                }
            }
        }
    }

    /// Ends a body that is not whole so that it cannot look whole. A connection of HTTP/1 is the caller's to cut.
    pub fn abort(&mut self) {
        if let Self::H2 { stream, .. } = self {
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    /// The connection behind a body of HTTP/1.
    pub fn into_writer(self) -> Option<Writer> {
        match self {
            Self::H1 { writer, .. } => Some(writer),
            Self::H2 { .. } => None,
        }
    }
}

/// Fields as h2 takes them. What it cannot carry is left out.
pub fn header_map(fields: &[Field]) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) =
            (http::HeaderName::from_bytes(name.as_bytes()), http::HeaderValue::from_bytes(value))
        {
            map.append(name, value);
        }
    }
    map
}

impl BodyWriter {
    /// Says the end of a direction that has no other framing.
    pub async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::H1 { writer, .. } => writer.finish().await,
            Self::H2 { .. } => self.end(&[]).await,
        }
    }
}
