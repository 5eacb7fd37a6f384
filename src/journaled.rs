//! The declaration of the crate's events: public to read and to serialise, but only this crate creates and
//! deserialises them.

/// Declares an event enum that other crates can serialise but neither create nor deserialise, and a private
/// mirror of it that recovery deserialises. One declaration makes both, so that they cannot differ. A field
/// whose type is closed in the same way names the mirror of that type: `field: Type as Stored`.
macro_rules! events {
    (
        $(#[$meta:meta])* $name:ident, stored as $stored:ident;
        $($(#[$variant_meta:meta])* $variant:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty $(as $stored_type:ty)?,)*
        })+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* #[non_exhaustive] $variant { $($(#[$field_meta])* $field: $type,)* },)+
        }

        #[doc = concat!("The form in which recovery reads a [`", stringify!($name), "`].")]
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        #[allow(dead_code, clippy::enum_variant_names, reason = "the public enum's names, read by what embeds it")]
        pub(crate) enum $stored {
            $($variant { $($field: $crate::journaled::events!(@stored $type $(as $stored_type)?),)* },)+
        }

        impl From<alloc::boxed::Box<$stored>> for alloc::boxed::Box<$name> {
            fn from(stored: alloc::boxed::Box<$stored>) -> Self {
                Self::new((*stored).into())
            }
        }

        impl From<$stored> for $name {
            fn from(stored: $stored) -> Self {
                match stored {
                    $($stored::$variant { $($field,)* } => Self::$variant {
                        $($field: $crate::journaled::events!(@read $field $(as $stored_type)?),)*
                    },)+
                }
            }
        }
    };
    (@stored $type:ty as $stored_type:ty) => { $stored_type };
    (@stored $type:ty) => { $type };
    (@read $field:ident as $stored_type:ty) => { $field.into() };
    (@read $field:ident) => { $field };
}
pub(crate) use events;
