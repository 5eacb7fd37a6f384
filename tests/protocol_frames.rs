//! The frame codec and the chunk codec: any split, every malformed header, no memory beyond the limit.

use leasehold::{
    code::{self, Coded as _},
    lease::{Epoch, Fence, RelativePath},
    protocol::{
        chunk::{Chunk, MAX_CHUNK_BYTES, Stream},
        frame::{FrameDecoder, FrameError, FrameKind, HEADER_BYTES, encode},
    },
};
use proptest::prelude::*;

fn kind() -> impl Strategy<Value = FrameKind> {
    prop::sample::select(FrameKind::ALL.to_vec())
}

fn decode_all(decoder: &mut FrameDecoder, mut input: &[u8]) -> Result<Vec<(FrameKind, Vec<u8>)>, FrameError> {
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut input)? {
        frames.push((frame.kind, frame.body));
    }
    Ok(frames)
}

proptest! {
    /// Invariant 11: however the stream is cut, the same frames come out, and nothing is left over.
    #[test]
    fn any_split_gives_the_same_frames(
        frames in prop::collection::vec((kind(), prop::collection::vec(any::<u8>(), 0..900)), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let mut bytes = Vec::new();
        for (kind, body) in &frames {
            encode(*kind, body, &mut bytes).unwrap();
        }
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let mut decoder = FrameDecoder::new();
        let mut out = Vec::new();
        for pair in at.windows(2) {
            out.extend(decode_all(&mut decoder, &bytes[pair[0]..pair[1]]).unwrap());
        }
        prop_assert_eq!(out, frames);
        prop_assert!(!decoder.is_partial());
    }

    /// Invariant 11: no input makes the decoders panic, and a failed decoder stays failed with the same error.
    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), good_start in any::<bool>()) {
        let mut input = if good_start { b"LH\x02".to_vec() } else { Vec::new() };
        input.extend(&bytes);
        let mut decoder = FrameDecoder::new();
        if let Err(error) = decode_all(&mut decoder, &input) {
            prop_assert_eq!(decode_all(&mut decoder, b"LH"), Err(error));
        }
        let _ = Chunk::decode(&bytes);
    }

    #[test]
    fn chunks_round_trip(
        counter in any::<u64>(), offset in any::<u64>(), content in prop::collection::vec(any::<u8>(), 0..600),
        stream in prop_oneof![
            Just(Stream::Log),
            "[a-z]{1,8}(/[a-z]{1,8}){0,3}".prop_map(|path| Stream::Output(RelativePath::new(&path).unwrap())),
            "[a-z]{1,8}".prop_map(|path| Stream::Input(RelativePath::new(&path).unwrap())),
        ],
    ) {
        let chunk = Chunk::new(Fence::new(Epoch(3), counter), stream, offset, &content).unwrap();
        prop_assert_eq!(Chunk::decode(&chunk.encode()), Ok(chunk));
    }
}

fn header(magic: &[u8; 2], version: u8, kind: u8, length: u32) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend([version, kind]);
    bytes.extend(length.to_be_bytes());
    bytes
}

/// Malformed and oversize frames, unknown kinds and versions, each with its code, and as soon
/// as the byte that shows it has come.
#[test]
fn a_bad_header_is_refused_at_its_first_bad_byte() {
    let cases = [
        (header(b"XH", 1, 1, 0), 1, code::FRAME_MAGIC),
        (header(b"LX", 1, 1, 0), 2, code::FRAME_MAGIC),
        (header(b"LH", 1, 1, 0), 3, code::PROTOCOL_VERSION),
        (header(b"LH", 0, 1, 0), 3, code::PROTOCOL_VERSION),
        (header(b"LH", 3, 1, 0), 3, code::PROTOCOL_VERSION),
        (header(b"LH", 2, 0, 0), 4, code::FRAME_KIND),
        (header(b"LH", 2, 9, 0), 4, code::FRAME_KIND),
        (header(b"LH", 2, 255, 0), 4, code::FRAME_KIND),
        (header(b"LH", 2, 4, u32::MAX), 8, code::FRAME_TOO_LARGE),
        (header(b"LH", 2, 4, (1 << 10) + 1), 8, code::FRAME_TOO_LARGE),
        (header(b"LH", 2, 6, (20 << 10) + 1), 8, code::FRAME_TOO_LARGE),
    ];
    for (bytes, shown_by, want) in cases {
        let mut decoder = FrameDecoder::new();
        assert_eq!(decode_all(&mut decoder, &bytes[..shown_by - 1]), Ok(vec![]), "{bytes:?}");
        let error = decode_all(&mut decoder, &bytes[shown_by - 1..]).unwrap_err();
        assert_eq!(error.code(), want, "{bytes:?}");
    }
}

#[test]
fn what_is_too_large_is_not_written_either() {
    for kind in FrameKind::ALL {
        let mut out = b"before".to_vec();
        let body = vec![0; kind.max_bytes() + 1];
        assert!(encode(kind, &body, &mut out).is_err());
        assert_eq!(out, b"before");
        encode(kind, &body[1..], &mut out).unwrap();
        assert_eq!(out.len(), 6 + HEADER_BYTES + kind.max_bytes());
    }
}

#[test]
fn bad_chunks_are_refused_with_their_codes() {
    let fence = Fence::new(Epoch(1), 1);
    let chunk = Chunk::new(fence, Stream::Log, 0, b"log").unwrap().encode();
    let mut stream = chunk.clone();
    stream[16] = 3;
    let mut log_with_path = chunk.clone();
    log_with_path[26] = 1;
    let mut climbs =
        Chunk::new(fence, Stream::Output(RelativePath::new("aa").unwrap()), 0, b"").unwrap().encode();
    climbs[27..29].copy_from_slice(b"..");
    let mut long_path = chunk.clone();
    long_path[25..27].copy_from_slice(&u16::MAX.to_be_bytes());
    let cases = [
        (&chunk[..20], code::CHUNK_MALFORMED),
        (&stream[..], code::CHUNK_MALFORMED),
        (&log_with_path, code::CHUNK_MALFORMED),
        (&long_path, code::CHUNK_MALFORMED),
        (&climbs, code::WORKSPACE_ESCAPE),
    ];
    for (bytes, want) in cases {
        assert_eq!(Chunk::decode(bytes).unwrap_err().code(), want);
    }
    assert!(Chunk::new(fence, Stream::Log, 0, &vec![0; MAX_CHUNK_BYTES + 1]).is_err());
}
