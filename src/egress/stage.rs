//! The stages of a decision, in the order in which they are reached.

use serde::Serialize;

macro_rules! stages {
    ($($(#[$meta:meta])* $name:ident = $text:literal;)*) => {
        /// The checks, in their order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Stage {
            $($(#[$meta])* $name,)*
        }

        impl Stage {
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            /// The stage's text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

stages! {
    /// The lease, before anything else, and whether its scope has the rule.
    Lease = "lease";
    /// The limit of redirects, and what a redirect may do.
    Redirect = "redirect";
    /// The form of the URL.
    Url = "url";
    /// The scheme.
    Scheme = "scheme";
    /// The form of the host, the deny list, the rules for hosts.
    Host = "host";
    /// The port.
    Port = "port";
    /// The method.
    Method = "method";
    /// The path.
    Path = "path";
    /// The byte limits.
    Limits = "limits";
    /// The headers and what is put into them.
    Credentials = "credentials";
    /// The answers of name resolution.
    Dns = "dns";
    /// Every address.
    Address = "address";
}
