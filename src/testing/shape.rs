//! `Shape`: what distinguishes one state of a fleet from another for whoever looks at what can happen next.
//!
//! Instants count from now, and numbers that only grow (versions, fences, places in a queue) stand for their order. So two states
//! that differ only in how often something happened before have the same shape, and a search visits one of them. Everything of
//! the workers' part of a state is in its shape because it is taken from what a snapshot stores; what is left out is named in
//! [`Shape::fleet`].

use alloc::vec::Vec;
use core::fmt;

use serde::{Serialize, Serializer, ser};

use crate::{fleet::WorkerFleetManager, time::Now};

/// Numbers of one kind, which are compared with each other and with nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Kind {
    /// As it is.
    Plain,
    /// Versions of the state.
    Version,
    /// Epochs.
    Epoch,
    /// Counters of fences.
    Fence,
    /// Places in the ready queues.
    Stamp,
    /// Acts on the whole fleet.
    Act,
    /// Digests and the ids of grants, in the order in which they come up.
    Name,
}

/// Members whose numbers stand for their order.
const ORDERED: &[(&str, Kind)] = &[
    ("version", Kind::Version),
    ("evidence_since", Kind::Version),
    ("left_at", Kind::Version),
    ("epoch", Kind::Epoch),
    ("counter", Kind::Fence),
    ("stamp", Kind::Stamp),
    ("quarantine_generation", Kind::Act),
    ("grant", Kind::Name),
];

/// The canonical form of a fleet, and of whatever else is put into it. Equal shapes behave the same.
#[derive(Clone, Debug)]
pub struct Shape {
    now: Now,
    words: Vec<(Kind, u64)>,
    kind: Kind,
}

impl Shape {
    /// An empty shape at `now`.
    pub const fn new(now: Now) -> Self {
        Self { now, words: Vec::new(), kind: Kind::Plain }
    }

    /// Puts in the workers' part of a fleet: workers, queues, runs, devices, bounds of time, and what is known of who was
    /// heard when.
    ///
    /// Left out: the policy itself (its generation is in), pairing, dispatch and anchors, client sessions, and what is
    /// spent: whoever searches has to know what could be used again.
    ///
    /// # Panics
    /// Where something cannot be serialised, which a snapshot would fail for, too.
    pub fn fleet(&mut self, fleet: &WorkerFleetManager) {
        let state = fleet.state();
        self.add(&("last", state.last));
        self.number(Kind::Epoch, state.epoch.0);
        self.number(Kind::Plain, state.policy_generation);
        self.number(Kind::Act, state.roster.quarantine_generation);
        self.number(Kind::Version, state.version);
        // Once they have passed it does not matter when.
        let now = self.now.mono;
        self.add(&(state.quiet_until.max(now), state.held_until.max(now), state.floor));
        self.add(&state.bounds);
        // Waves are told apart by being the last one or not.
        let wave = &state.roster.wave;
        self.add(&(wave.id, wave.last));
        for place in state.roster.stored_places() {
            self.add(&place);
        }
        for slot in state.roster.free() {
            self.add(slot);
        }
        for run in state.runs.sorted() {
            self.add(run);
        }
        for entry in state.nodes.registry.revoked() {
            self.add(&entry);
        }
        for device in state.nodes.registry.stored_devices() {
            self.add(&device);
        }
        self.add(&fleet.kernel().soft_shape());
    }

    /// Puts in anything else: what is on its way to a fleet, and who waits for it.
    ///
    /// # Panics
    /// Where it cannot be serialised.
    pub fn add(&mut self, value: &(impl Serialize + ?Sized)) {
        value.serialize(&mut *self).expect("a value that can be stored");
    }

    /// The shape as numbers: equal exactly where the shapes are.
    pub fn finish(self) -> Vec<u64> {
        let mut sorted = self.words.clone();
        sorted.retain(|(kind, _)| !matches!(kind, Kind::Plain | Kind::Name));
        sorted.sort_unstable();
        sorted.dedup();
        let mut named: Vec<u64> = Vec::new();
        let rank = |(kind, word): (Kind, u64)| match kind {
            Kind::Plain => word,
            Kind::Name => match named.iter().position(|name| *name == word) {
                Some(at) => at as u64,
                None => {
                    named.push(word);
                    named.len() as u64 - 1
                }
            },
            kind => {
                let first = sorted.partition_point(|(other, _)| *other < kind);
                let at = sorted.partition_point(|other| *other < (kind, word));
                (at - first) as u64
            }
        };
        self.words.into_iter().map(rank).collect()
    }

    fn number(&mut self, kind: Kind, word: u64) {
        self.words.push((kind, word));
    }

    /// An instant, from now. The first and the last one of a line stay what they are.
    fn instant(&mut self, at: u64, now: u64) {
        let word = match at {
            0 | u64::MAX => at,
            at => at.wrapping_sub(now) ^ 1 << 63,
        };
        self.number(Kind::Plain, word);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.number(self.kind, hash);
    }
}

/// Why something has no shape.
#[derive(Debug)]
pub struct Shapeless;

impl fmt::Display for Shapeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a shape")
    }
}

impl core::error::Error for Shapeless {}

impl ser::Error for Shapeless {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Done = Result<(), Shapeless>;

/// A digest is a tuple of this many bytes.
const DIGEST: usize = 32;

/// A tuple: of anything, or of the bytes of a digest.
pub enum Tuple<'a> {
    /// Each member for itself.
    Members(&'a mut Shape),
    /// One name.
    Digest(&'a mut Shape, usize),
}

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {$(
        #[allow(clippy::cast_sign_loss, reason = "words are told apart, not counted with")]
        fn $name(self, value: $type) -> Done {
            self.number(self.kind, value as u64);
            Ok(())
        }
    )*};
}

impl<'a> Serializer for &'a mut Shape {
    type Ok = ();
    type Error = Shapeless;
    type SerializeSeq = &'a mut Shape;
    type SerializeTuple = Tuple<'a>;
    type SerializeTupleStruct = &'a mut Shape;
    type SerializeTupleVariant = &'a mut Shape;
    type SerializeMap = &'a mut Shape;
    type SerializeStruct = &'a mut Shape;
    type SerializeStructVariant = &'a mut Shape;

    numbers! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_char: char
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_f32(self, _: f32) -> Done {
        Err(Shapeless)
    }

    fn serialize_f64(self, _: f64) -> Done {
        Err(Shapeless)
    }

    fn serialize_str(self, value: &str) -> Done {
        self.bytes(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.bytes(value);
        Ok(())
    }

    fn serialize_none(self) -> Done {
        self.number(Kind::Plain, 0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        self.number(Kind::Plain, 1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Done {
        self.number(Kind::Plain, index.into());
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Done {
        let before = self.words.len();
        value.serialize(&mut *self)?;
        let now = match name {
            "Mono" => self.now.mono.0,
            "Wall" => self.now.wall.0,
            _ => return Ok(()),
        };
        if let Some((_, at)) = self.words.pop().filter(|_| self.words.len() == before) {
            self.instant(at, now);
        }
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        self.number(Kind::Plain, index.into());
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Shapeless> {
        self.number(Kind::Plain, length.ok_or(Shapeless)? as u64);
        Ok(self)
    }

    fn serialize_tuple(self, length: usize) -> Result<Tuple<'a>, Shapeless> {
        let first = self.words.len();
        Ok(if length == DIGEST { Tuple::Digest(self, first) } else { Tuple::Members(self) })
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Shapeless> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Shapeless> {
        self.number(Kind::Plain, index.into());
        Ok(self)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, Shapeless> {
        self.serialize_seq(length)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Shapeless> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Shapeless> {
        self.number(Kind::Plain, index.into());
        Ok(self)
    }
}

impl Shape {
    fn member<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Done {
        let kind = ORDERED.iter().find(|(name, _)| *name == key).map_or(Kind::Plain, |(_, kind)| *kind);
        let outer = core::mem::replace(&mut self.kind, kind);
        let done = value.serialize(&mut *self);
        self.kind = outer;
        done
    }
}

impl ser::SerializeTuple for Tuple<'_> {
    type Ok = ();
    type Error = Shapeless;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        match self {
            Tuple::Members(shape) | Tuple::Digest(shape, _) => value.serialize(&mut **shape),
        }
    }

    fn end(self) -> Done {
        if let Tuple::Digest(shape, first) = self {
            let word = |word: u64, (_, byte): (Kind, u64)| (word ^ byte).wrapping_mul(0x0100_0000_01b3);
            let name = shape.words.drain(first..).fold(0xcbf2_9ce4_8422_2325, word);
            shape.number(Kind::Name, name);
        }
        Ok(())
    }
}

macro_rules! elements {
    ($($trait:ident, $method:ident;)*) => {$(
        impl ser::$trait for &mut Shape {
            type Ok = ();
            type Error = Shapeless;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                value.serialize(&mut **self)
            }

            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

impl ser::SerializeMap for &mut Shape {
    type Ok = ();
    type Error = Shapeless;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut **self)
    }

    fn end(self) -> Done {
        Ok(())
    }
}

macro_rules! members {
    ($($trait:ident),*) => {$(
        impl ser::$trait for &mut Shape {
            type Ok = ();
            type Error = Shapeless;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Done {
                self.member(key, value)
            }

            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

members!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        testing::World,
        time::{Mono, Wall},
    };

    fn shape(world: &World) -> Vec<u64> {
        let mut shape = Shape::new(world.now);
        shape.fleet(&world.fleet);
        shape.finish()
    }

    /// What happened before and has left nothing behind is not in the shape; what has, is.
    #[test]
    fn a_shape_forgets_how_often_and_when() {
        let mut world = World::default();
        let handle = world.join(0, "a");
        // The second heartbeat finds that there is nothing to do, which is remembered.
        world.beat(0, handle).unwrap();
        let before = shape(&world);
        world.attest(0, "a", Some(handle)).unwrap();
        world.beat(0, handle).unwrap();
        world.beat(0, handle).unwrap();
        assert_eq!(before, shape(&world), "only versions and stamps have moved");
        world.pass(1_000);
        assert_ne!(before, shape(&world), "the worker was heard a second ago");
        let mut other = World::default();
        other.pass(77_000);
        let same = other.join(0, "a");
        assert_eq!(same, handle);
        other.beat(0, same).unwrap();
        assert_eq!(before, shape(&other), "another time of the day");
    }

    /// Each thing that decides what can happen next is in the shape.
    #[test]
    fn a_shape_tells_apart_what_behaves_differently() {
        use crate::fleet::{Drain, QuarantineWorker};
        let joined = || {
            let mut world = World::default();
            world.join(0, "a");
            world
        };
        let mut shapes = alloc::vec![shape(&joined())];
        let changes: [fn(&mut World); 4] = [
            |world| drop(world.ask(&Drain { worker: World::worker_id(0) }, &World::operator())),
            |world| drop(world.ask(&QuarantineWorker { worker: World::worker_id(0) }, &World::operator())),
            |world| drop(world.acquire(1, "a")),
            |world| world.crash(),
        ];
        for change in changes {
            let mut world = joined();
            change(&mut world);
            shapes.push(shape(&world));
        }
        let count = shapes.len();
        shapes.sort();
        shapes.dedup();
        assert_eq!(shapes.len(), count);
    }

    /// Instants that are not from now, and numbers that stand for their order.
    #[test]
    fn instants_are_from_now_and_numbers_are_ranks() {
        #[derive(Serialize)]
        struct Thing {
            until: Mono,
            version: u64,
            on: Wall,
        }
        let at = |now: u64, version: u64| {
            let mut shape = Shape::new(Now::new(now, now + 5));
            shape.add(&Thing { until: Mono(now + 7), version, on: Wall(now + 6) });
            shape.finish()
        };
        assert_eq!(at(10, 4), at(99, 90));
    }
}
