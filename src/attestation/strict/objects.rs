//! Fills a type from checked bytes through serde_json, except that a struct is filled from an object only.
//!
//! Derived structs also accept their fields as an array, in order; a document that two readers take apart in two
//! ways is not strict. The wrapper turns "a struct is due" into "a map is due" at every depth.

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{StrictError, StrictErrorKind};

/// Reads a `T` from bytes that the scanner accepted.
pub(super) fn fill<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StrictError> {
    attempt(bytes).map_err(|error| shape(bytes, &error))
}

/// As [`fill`]; a failure comes with serde's words, which may repeat parts of the document.
#[cfg(feature = "std")]
pub(super) fn fill_explained<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<T, (StrictError, alloc::string::String)> {
    attempt(bytes).map_err(|error| {
        let words = alloc::format!("{error}");
        let place = alloc::format!(" at line {} column {}", error.line(), error.column());
        (shape(bytes, &error), words.strip_suffix(&place).unwrap_or(&words).into())
    })
}

fn attempt<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    T::deserialize(ObjectsOnly(&mut reader)).and_then(|value| reader.end().map(|()| value))
}

fn shape(bytes: &[u8], error: &serde_json::Error) -> StrictError {
    StrictError::new(StrictErrorKind::Shape, offset(bytes, error))
}

/// The offset that serde_json means by a line and a column.
fn offset(bytes: &[u8], error: &serde_json::Error) -> usize {
    let breaks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let line = match error.line().checked_sub(2) {
        None => 0,
        Some(nth) => breaks.map(|(at, _)| at.saturating_add(1)).nth(nth).unwrap_or(bytes.len()),
    };
    line.saturating_add(error.column().saturating_sub(1)).min(bytes.len())
}

struct ObjectsOnly<T>(T);

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* ObjectsOnly(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectsOnly<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(ObjectsOnly(visitor))
    }

    forward! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for ObjectsOnly<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(alloc::string::String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(alloc::vec::Vec<u8>);
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(ObjectsOnly(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(ObjectsOnly(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(ObjectsOnly(seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(ObjectsOnly(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(ObjectsOnly(data))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for ObjectsOnly<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(ObjectsOnly(inner))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for ObjectsOnly<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(ObjectsOnly(seed))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for ObjectsOnly<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(ObjectsOnly(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(ObjectsOnly(seed))
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for ObjectsOnly<A> {
    type Error = A::Error;
    type Variant = ObjectsOnly<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        self.0.variant_seed(ObjectsOnly(seed)).map(|(value, rest)| (value, ObjectsOnly(rest)))
    }
}

/// The members of a struct variant, read as a map.
struct Members<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Members<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        inner.deserialize_map(ObjectsOnly(self.0))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for ObjectsOnly<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(ObjectsOnly(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, ObjectsOnly(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.newtype_variant_seed(Members(visitor))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use serde::Deserialize;

    use super::super::{Limits, StrictErrorKind, read};

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        a: u8,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    enum Choice {
        Named { inner: Inner },
        Plain(Inner),
        Bare,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        list: Vec<Inner>,
        maybe: Option<Inner>,
        choice: Option<Choice>,
    }

    /// Attack A8: an array in place of an object is refused at every depth, which serde_json alone does not do.
    #[test]
    fn a8_an_array_is_never_an_object() {
        let good = r#"{"list":[{"a":1}],"maybe":{"a":2},"choice":{"named":{"inner":{"a":3}}}}"#;
        let want = Outer {
            list: [Inner { a: 1 }].into(),
            maybe: Some(Inner { a: 2 }),
            choice: Some(Choice::Named { inner: Inner { a: 3 } }),
        };
        assert_eq!(read::<Outer>(good.as_bytes(), &Limits::DOCUMENT).unwrap(), want);
        for bad in [
            r#"{"list":[[1]],"maybe":null,"choice":null}"#,
            r#"{"list":[],"maybe":[2],"choice":null}"#,
            r#"{"list":[],"maybe":null,"choice":{"named":[{"a":3}]}}"#,
            r#"{"list":[],"maybe":null,"choice":{"named":{"inner":[3]}}}"#,
            r#"{"list":[],"maybe":null,"choice":{"plain":[3]}}"#,
        ] {
            assert!(serde_json::from_str::<Outer>(bad).is_ok(), "serde_json takes {bad}");
            let error = read::<Outer>(bad.as_bytes(), &Limits::DOCUMENT).unwrap_err();
            assert_eq!(error.kind, StrictErrorKind::Shape, "{bad}");
        }
        let bare = r#"{"list":[],"choice":"bare"}"#;
        assert_eq!(read::<Outer>(bare.as_bytes(), &Limits::DOCUMENT).unwrap().choice, Some(Choice::Bare));
    }
}
