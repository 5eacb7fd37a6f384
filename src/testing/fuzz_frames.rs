//! Frames and documents of any bytes, and the seeds from which the fuzzers of pairing and dispatch begin.
#![allow(clippy::unwrap_used)]

use alloc::{string::String, vec, vec::Vec};

use super::samples::{leaf, request};
use crate::{
    dispatch::{DeviceMessage, Incarnation, Outcome, Payload},
    protocol::{
        frame::{FrameDecoder, FrameKind},
        message::{Document, NodeMessage, NodeRequest, NodeWord},
    },
};

/// Frames and the documents in them: what is read has one reading, whatever it is cut into.
pub fn frames(bytes: &[u8]) {
    let decode = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut decoder, mut all) = (FrameDecoder::new(), Vec::new());
        for piece in pieces {
            let mut rest = piece;
            loop {
                match decoder.decode(&mut rest) {
                    Ok(Some(frame)) => all.push(Ok(frame)),
                    Ok(None) => break,
                    Err(error) => {
                        all.push(Err(error));
                        return all;
                    }
                }
            }
        }
        all
    };
    let whole = decode(&mut core::iter::once(bytes));
    assert_eq!(whole, decode(&mut bytes.chunks(1)), "a cut changes what is read");
    for frame in whole.into_iter().flatten() {
        match frame.kind {
            FrameKind::Node => one_reading::<NodeRequest>(&frame.body),
            FrameKind::Dispatch => one_reading::<NodeWord>(&frame.body),
            FrameKind::Pairing => super::fuzz_identity::pairing_message(&frame.body),
            _ => {}
        }
    }
}

fn one_reading<D: Document + PartialEq + core::fmt::Debug>(body: &[u8]) {
    let Ok(read) = D::read(body) else { return };
    let mut bytes = Vec::new();
    read.write(&mut bytes).unwrap();
    let frame = FrameDecoder::new().decode(&mut &bytes[..]).unwrap().unwrap();
    assert_eq!(D::read(&frame.body).unwrap(), read);
}

/// Seeds for the fuzzer: each act once, each message once, and a story of all of them.
pub fn dispatch_seeds() -> Vec<(String, Vec<u8>)> {
    let tell = |message| {
        let mut bytes = Vec::new();
        NodeRequest { sequence: 1, message }.write(&mut bytes).unwrap();
        bytes
    };
    let incarnation = Incarnation(1);
    let heartbeat = tell(NodeMessage::Tell(DeviceMessage::Heartbeat { incarnation }));
    let answer = DeviceMessage::Answer {
        incarnation,
        request: request(0),
        attempt: 1,
        outcome: Outcome::Succeeded(Payload::new(b"seen")),
    };
    let mut settle = Vec::new();
    NodeWord::Settle { request: request(1) }.write(&mut settle).unwrap();
    let enqueue = |n| vec![3, 1, n, 4, b'l', b'o', b'o', b'k', 64, 100];
    let story = [
        enqueue(0),
        enqueue(1),
        vec![6, 5, 3],
        vec![2, 1, 0, 1, 5, 2, b'o', b'k'],
        vec![7],
        enqueue(2),
        vec![10, 4, 10, 5, 9, 2],
    ];
    let mut body = vec![1, u8::try_from(heartbeat.len() - 8).unwrap()];
    body.extend(&heartbeat[8..]);
    vec![
        ("heartbeat".into(), heartbeat),
        ("answer".into(), tell(NodeMessage::Tell(answer))),
        ("revoke_self".into(), tell(NodeMessage::RevokeSelf {})),
        ("settle".into(), settle),
        ("in_a_frame".into(), body),
        ("stranger".into(), vec![11, 6, b'L', b'P', 4, 0, 1, b'x']),
        ("story".into(), story.concat()),
    ]
}

/// Seeds for the fuzzer of pairing: the acts of an honest exchange by each method, and one that goes wrong.
pub fn pairing_seeds() -> Vec<(String, Vec<u8>)> {
    let honest = [2, 0, 4, 0, 0, 0, 2, 0, 4, 0, 1, 0, 2, 0, 4, 0];
    vec![
        ("qr".into(), [&[0][..], &honest].concat()),
        ("compare".into(), [&[1][..], &honest, &[7, 1]].concat()),
        ("damaged".into(), vec![0, 2, 0, 5, 40, 4, 0, 0, 0, 2, 0, 7, 200, 2, 0]),
        ("fetch".into(), [&b"LP\x04\0\x01x"[..], &[7; 32]].concat()),
        ("certificate".into(), leaf()),
    ]
}
