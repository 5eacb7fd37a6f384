//! Whether an answer has what a scenario expects: listed members must be there, arrays are as long and equal element by
//! element, and members that the scenario does not list may be anything.

use serde_json::Value;

/// Where `got` does not contain `want`.
pub fn missing(want: &Value, got: &Value, at: &str) -> Option<String> {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => want.iter().find_map(|(key, want)| {
            let at = format!("{at}.{key}");
            match got.get(key) {
                Some(got) => missing(want, got, &at),
                None => Some(format!("{at} is not there")),
            }
        }),
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => want
            .iter()
            .zip(got)
            .enumerate()
            .find_map(|(n, (want, got))| missing(want, got, &format!("{at}[{n}]"))),
        _ if want == got => None,
        _ => Some(format!("{at}: want {want}, got {got}")),
    }
}
