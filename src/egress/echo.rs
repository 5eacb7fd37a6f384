//! Secrets that come back: what an origin repeats of them is masked before the worker sees it.
//!
//! A mask is as long as what it hides, so lengths and framing stay true. The search runs over a stream in pieces of any size
//! (Knuth, Morris and Pratt), and holds back only bytes with which a secret may begin: an event that ends with a line break is
//! passed on whole.

use alloc::{vec, vec::Vec};
use core::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use super::{
    credentials::Secret,
    header::{HeaderField, is_same_field},
};
use crate::code::{self, Code, Coded};

/// The shortest secret that is masked, in bytes. A mask shows where a text stood, so that a worker who has its guesses repeated
/// finds out a secret that is short enough to be guessed.
const MIN_SECRET_BYTES: usize = 8;
/// What stands in place of each byte.
const MASK: u8 = b'*';

/// Why a request goes out for no answer that could be masked, or an answer cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EchoError {
    /// The rule masks secrets that come back, and what sends the request does not.
    #[error("the rule has mask_echoes; send the request with ConnectPlan::request and mask its answer")]
    Needed,
    /// A secret that could be guessed by what is masked.
    #[error("mask_echoes needs secrets of at least {MIN_SECRET_BYTES} bytes")]
    ShortSecret,
    /// The body is encoded, although identity was asked for.
    #[error("the origin encodes its answer, in which no secret can be found; it was asked for identity")]
    Encoded,
    /// Part of a body, at whose ends a secret would be cut.
    #[error("the origin sends a part of its answer, although none was asked for")]
    Partial,
    /// Another protocol, in which nothing is masked.
    #[error("the rule has mask_echoes, so the connection cannot be switched to another protocol")]
    Switched,
}

impl Coded for EchoError {
    fn code(&self) -> Code {
        match self {
            Self::Needed => code::EGRESS_ECHO_NEEDED,
            Self::ShortSecret => code::EGRESS_ECHO_SHORT_SECRET,
            Self::Encoded => code::EGRESS_ECHO_ENCODED,
            Self::Partial => code::EGRESS_ECHO_PARTIAL,
            Self::Switched => code::EGRESS_ECHO_SWITCHED,
        }
    }
}

/// Whether a request field asks for an answer in which secrets cannot be found: encoded, or a part of it.
pub(super) fn hinders(name: &str) -> bool {
    ["accept-encoding", "grpc-accept-encoding", "range", "if-range", "request-range", "a-im"]
        .iter()
        .any(|own| is_same_field(own, name))
}

/// A text to find, and how much of it is found again where a search that has come so far fails.
struct Needle {
    text: Zeroizing<Vec<u8>>,
    fallback: Zeroizing<Vec<usize>>,
}

impl Needle {
    fn new(text: &[u8]) -> Self {
        let mut needle =
            Self { text: Zeroizing::new(text.to_vec()), fallback: Zeroizing::new(vec![0; text.len()]) };
        let mut state = 0;
        for (at, byte) in text.iter().enumerate().skip(1) {
            state = needle.step(state, *byte);
            if let Some(entry) = needle.fallback.get_mut(at) {
                *entry = state;
            }
        }
        needle
    }

    /// How much of the text ends with `byte`, after `state` bytes of it did.
    fn step(&self, mut state: usize, byte: u8) -> usize {
        loop {
            if self.text.get(state) == Some(&byte) {
                return state.saturating_add(1);
            }
            match state.checked_sub(1) {
                Some(before) => state = self.fallback.get(before).copied().unwrap_or(0),
                None => return 0,
            }
        }
    }

    /// Goes on through `bytes`, and tells where each occurrence ends. Returns how much of the text is at their end.
    fn search(&self, mut state: usize, bytes: &[u8], mut found: impl FnMut(usize)) -> usize {
        let Some(first) = self.text.first() else { return 0 };
        let mut at: usize = 0;
        while let Some(rest) = bytes.get(at..) {
            if state == 0 {
                // Most bytes begin nothing.
                let Some(skipped) = rest.iter().position(|byte| byte == first) else { return 0 };
                at = at.saturating_add(skipped);
            }
            let Some(byte) = bytes.get(at) else { break };
            at = at.saturating_add(1);
            state = self.step(state, *byte);
            if state == self.text.len() {
                found(at);
                state = self.fallback.last().copied().unwrap_or(0);
            }
        }
        state
    }
}

/// The texts that are collected while a request is put together.
#[derive(Default)]
pub(super) struct Echoes(Vec<Needle>, bool);

impl Echoes {
    /// A secret of a binding that masks.
    pub(super) fn secret(&mut self, secret: &Secret) {
        self.1 |= secret.expose().len() < MIN_SECRET_BYTES;
        self.written(secret.expose());
    }

    /// A secret as it was written into the request.
    pub(super) fn written(&mut self, text: &[u8]) {
        if !text.is_empty() && !self.0.iter().any(|own| **own.text == *text) {
            self.0.push(Needle::new(text));
        }
    }

    pub(super) fn into_mask(self) -> Result<Option<EchoMask>, EchoError> {
        let Self(needles, short) = self;
        if short {
            return Err(EchoError::ShortSecret);
        }
        Ok((!needles.is_empty()).then_some(EchoMask(needles)))
    }
}

/// What is masked in the answer to a request: the secrets that were put in by bindings with `mask_echoes`, as they are and as
/// they were written, which is in base64 in a Basic pair and percent-encoded in a path or query.
///
/// Cost: a byte of the answer is looked at about twice for each text. Texts that an origin writes in another way are not found.
pub struct EchoMask(Vec<Needle>);

impl EchoMask {
    /// Whether the answer with this head can be masked.
    ///
    /// # Errors
    /// [`EchoError`] where it cannot: it switches protocols, is a part, or has a content coding.
    pub fn check<'a>(
        &self,
        status: u16,
        fields: impl IntoIterator<Item = HeaderField<'a>>,
    ) -> Result<(), EchoError> {
        match status {
            101 => return Err(EchoError::Switched),
            // RFC 9110 section 15.3.7, RFC 3229 section 10.4.1.
            206 | 226 => return Err(EchoError::Partial),
            _ => {}
        }
        let is_plain = |value: &[u8]| {
            let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
        };
        let mut encodings = fields.into_iter().filter(|field| {
            ["content-encoding", "grpc-encoding"].iter().any(|own| is_same_field(own, field.name))
        });
        if encodings.all(|field| is_plain(field.value)) { Ok(()) } else { Err(EchoError::Encoded) }
    }

    /// Masks the value of a header or trailer field, or a reason phrase.
    pub fn mask(&self, text: &mut [u8]) {
        let mut ends = Vec::new();
        for needle in &self.0 {
            ends.clear();
            needle.search(0, text, |end| ends.push(end));
            for end in &ends {
                cover(text, *end, needle.text.len());
            }
        }
    }

    /// The mask over a body, from its beginning.
    pub fn stream(&self) -> EchoStream<'_> {
        EchoStream { mask: self, states: vec![0; self.0.len()], held: Zeroizing::default() }
    }
}

/// The number of texts.
impl fmt::Debug for EchoMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EchoMask({} texts)", self.0.len())
    }
}

fn cover(bytes: &mut [u8], end: usize, len: usize) {
    if let Some(own) = bytes.get_mut(end.saturating_sub(len)..end) {
        own.fill(MASK);
    }
}

/// A body on its way through a mask. What it gives has the length of what it was given.
pub struct EchoStream<'a> {
    mask: &'a EchoMask,
    /// How much of each text is at the end of what came.
    states: Vec<usize>,
    /// The end of what came, which may be the beginning of a secret.
    held: Zeroizing<Vec<u8>>,
}

impl EchoStream<'_> {
    /// Takes the next piece, and appends to `out` what can go on. At most the longest text less one byte stays behind.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        out.reserve_exact(self.held.len().saturating_add(piece.len()));
        out.extend_from_slice(&self.held);
        let piece_begin = out.len();
        out.extend_from_slice(piece);
        for (needle, state) in self.mask.0.iter().zip(&mut self.states) {
            *state = needle.search(*state, piece, |end| {
                cover(out, piece_begin.saturating_add(end), needle.text.len());
            });
        }
        let hold = self.states.iter().copied().max().unwrap_or(0);
        let keep = out.len().saturating_sub(hold).max(begin);
        let tail = out.get_mut(keep..).unwrap_or_default();
        self.held = Zeroizing::new(tail.to_vec());
        tail.zeroize();
        out.truncate(keep);
    }

    /// Appends what was held back, at the end of the body.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.held);
    }
}

/// How many bytes are held back.
impl fmt::Debug for EchoStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EchoStream({} bytes held)", self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String};

    use proptest::prelude::*;

    use super::*;

    fn mask(texts: &[&[u8]]) -> EchoMask {
        let mut echoes = Echoes::default();
        texts.iter().for_each(|text| echoes.written(text));
        echoes.into_mask().unwrap().unwrap()
    }

    /// Every byte that lies in an occurrence of any text.
    fn masked_whole(texts: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
        let mut out = body.to_vec();
        for text in texts {
            for at in 0..body.len() {
                if body[at..].starts_with(text) {
                    out[at..at + text.len()].fill(MASK);
                }
            }
        }
        out
    }

    fn streamed(mask: &EchoMask, pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stream, mut out) = (mask.stream(), Vec::new());
        pieces.iter().for_each(|piece| stream.push(piece, &mut out));
        stream.finish(&mut out);
        out
    }

    proptest! {
        /// Invariant 10: in whatever pieces a body comes, what goes on is the masked whole, of the same length, and no text is
        /// left in it. Two letters make texts that overlap themselves and each other.
        #[test]
        fn every_split_gives_the_masked_whole(
            texts in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab".to_vec()), 1..7), 1..4),
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(prop::sample::select(b"abc".to_vec()), 0..9).prop_map(Ok),
                any::<prop::sample::Index>().prop_map(Err),
            ], 0..8),
        ) {
            let pieces: Vec<Vec<u8>> =
                parts.into_iter().map(|part| part.unwrap_or_else(|at| at.get(&texts).clone())).collect();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let mask = mask(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let whole = pieces.concat();
            let due = masked_whole(&texts, &whole);
            prop_assert_eq!(&streamed(&mask, &pieces), &due);
            let mut value = whole.clone();
            mask.mask(&mut value);
            prop_assert_eq!(value.len(), whole.len());
            prop_assert!(texts.iter().all(|text| !value.windows(text.len()).any(|own| own == text.as_slice())));
        }
    }

    /// Only what may begin a secret waits: the end of an event arrives with the event.
    #[test]
    fn what_begins_no_secret_is_not_held_back() {
        let mask = mask(&[b"hunter2-of-the-vault"]);
        let (mut stream, mut out) = (mask.stream(), Vec::new());
        for (piece, gone_on) in [
            ("data: one\n\n", "data: one\n\n"),
            ("a hunt", "a "),
            ("er\n", "hunter\n"),
            ("hunter2-of-the-", ""),
            ("vault\n", "********************\n"),
            ("hunterhunter2", "hunter"),
        ] {
            out.clear();
            stream.push(piece.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), gone_on, "{piece:?}");
        }
        out.clear();
        stream.finish(&mut out);
        assert_eq!(out, b"hunter2");
    }

    #[test]
    fn what_cannot_be_masked_is_refused() {
        let mask = mask(&[b"hunter2-of-the-vault"]);
        let check = |status, name: &str, value: &str| {
            mask.check(status, [HeaderField { name, value: value.as_bytes() }])
        };
        for (status, name, value, due) in [
            (200, "content-type", "text/plain", Ok(())),
            (200, "content-encoding", "identity", Ok(())),
            (200, "Content-Encoding", "gzip", Err(EchoError::Encoded)),
            (404, "content-encoding", "identity, br", Err(EchoError::Encoded)),
            (200, "content_encoding", "gzip", Err(EchoError::Encoded)),
            (200, "grpc-encoding", "gzip", Err(EchoError::Encoded)),
            (206, "content-range", "bytes 0-1/2", Err(EchoError::Partial)),
            (226, "im", "vcdiff", Err(EchoError::Partial)),
            (101, "upgrade", "websocket", Err(EchoError::Switched)),
        ] {
            assert_eq!(check(status, name, value), due, "{status} {name}: {value}");
        }
    }

    /// Attack E14, and a secret that is short enough to be guessed by what is masked.
    #[test]
    fn e14_a_mask_shows_no_secret_and_takes_no_short_one() {
        let mask = mask(&[b"hunter2-of-the-vault"]);
        let mut stream = mask.stream();
        stream.push(b"hunter2-of", &mut Vec::new());
        assert_eq!(format!("{mask:?} {stream:?}"), "EchoMask(1 texts) EchoStream(10 bytes held)");
        let mut echoes = Echoes::default();
        echoes.secret(&Secret::new(b"1234567".to_vec()).unwrap());
        assert_eq!(echoes.into_mask().unwrap_err(), EchoError::ShortSecret);
        assert!(Echoes::default().into_mask().unwrap().is_none());
    }
}
