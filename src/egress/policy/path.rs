//! Path prefixes: what a path is under, in every reading that an upstream may have of it.

use alloc::{boxed::Box, string::String};

use super::climb::may_climb;

/// A path prefix of a rule: canonical as the URL parser writes it. Its only escape is `%2F`, spelled so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix(Box<str>);

impl Prefix {
    /// Takes `text` where it reads alike everywhere: no dot segments, parameters, backslashes, query or fragment, and no
    /// percent sign except in `%2F` of either case.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text = text.replace("%2f", "%2F");
        let plain = text.replace("%2F", "/");
        let readable = !plain.bytes().any(|byte| matches!(byte, b'%' | b';' | b'\\' | b'?' | b'#'));
        let dots = plain.split('/').any(|segment| matches!(segment, "." | ".."));
        let url = alloc::format!("https://a.invalid{text}");
        let canonical = url::Url::parse(&url).is_ok_and(|parsed| parsed.path() == text);
        let fits = text.starts_with('/') && readable && !dots && canonical;
        fits.then(|| Self(String::into_boxed_str(text)))
    }

    /// Longer prefixes win.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `path`, canonical, is under this prefix at a segment boundary.
    ///
    /// Its bytes must say so: an encoded slash of the prefix must stand there encoded. And no reading of what follows may
    /// leave the prefix: `/v1/..%2fadmin` is not under `/v1/`. Cost: linear in the path, and nothing is allocated where
    /// the path has neither percent signs nor parameters.
    pub(super) fn holds(&self, path: &str) -> bool {
        let Some(rest) = self.cut(path) else { return false };
        let at_boundary = rest.is_empty() || self.0.ends_with('/') || rest.starts_with('/');
        // Above the root is the root, so that nothing is outside of it.
        at_boundary && (*self.0 == *"/" || !may_climb(rest))
    }

    /// What follows this prefix in `path`.
    fn cut<'a>(&self, path: &'a str) -> Option<&'a str> {
        if let Some(rest) = path.strip_prefix(&*self.0) {
            return Some(rest);
        }
        if !self.0.contains('%') {
            return None;
        }
        let (head, rest) = path.split_at_checked(self.0.len())?;
        (head.replace("%2f", "%2F") == *self.0).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_under(path: &str, prefix: &str) -> bool {
        Prefix::new(prefix).unwrap().holds(path)
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for (path, prefix, want) in [
            ("/v1/models", "/v1/", true),
            ("/v1/", "/v1/", true),
            ("/v1", "/v1/", false),
            ("/v1", "/v1", true),
            ("/v1/x", "/v1", true),
            ("/v10", "/v1", false),
            ("/v1;a/x", "/v1", false),
            ("/v2", "/v1", false),
            ("/", "/", true),
            ("/x", "/", true),
            ("/..%2fx", "/", true),
            ("/V1/x", "/v1/", false),
        ] {
            assert_eq!(is_under(path, prefix), want, "{path} {prefix}");
        }
    }

    /// Packages of npm and projects of GitLab are named with an encoded slash.
    #[test]
    fn an_encoded_slash_of_a_prefix_matches_only_itself() {
        for prefix in ["/@scope%2fname", "/@scope%2Fname"] {
            for path in ["/@scope%2fname", "/@scope%2Fname", "/@scope%2fname/-/name-1.0.tgz"] {
                assert!(is_under(path, prefix), "{path} {prefix}");
            }
            for path in [
                "/@scope/name",
                "/@scope%252fname",
                "/@scope%2fname2",
                "/@scope%5cname",
                "/@scope%2fname/..;/x",
                "/@scope%2fname%2fx",
                "/@scope",
            ] {
                assert!(!is_under(path, prefix), "{path} {prefix}");
            }
        }
    }

    #[test]
    fn prefixes_are_canonical_paths() {
        for path in ["/", "/v1", "/v1/", "/a.b/c-d_e~", "/a%2Fb", "/a%2fb/", "/...", "/a*"] {
            assert!(Prefix::new(path).is_some(), "{path}");
        }
        for path in [
            "", "v1", "/v1/../x", "/./", "/a?b", "/a#b", "/a b", "/a\\b", "/a%20b", "/a%252fb", "/a%2",
            "/..%2fb", "/a%2f.", "/a;b", "/\u{e9}", "/a\n",
        ] {
            assert!(Prefix::new(path).is_none(), "{path}");
        }
    }
}
