//! `leasehold codes`: every stable code, what it means, and what to do about it.

use clap::Args;
use leasehold::code;
use serde_json::json;

use super::{End, Fault, Outcome, say};

#[derive(Args)]
pub struct Arguments {
    /// A code, or the beginning of codes, such as `lease` or `egress.address`
    prefix: Option<String>,
    /// One JSON object per line
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The page of the manual
    #[arg(long, conflicts_with = "prefix")]
    markdown: bool,
}

pub fn run(arguments: &Arguments, out: &mut String) -> Outcome {
    if arguments.markdown {
        out.push_str(&code::page());
        return Ok(End::Yes);
    }
    let prefix = arguments.prefix.as_deref().unwrap_or_default();
    let mut found = false;
    for entry in code::all().filter(|entry| within(prefix, entry.code.as_str())) {
        found = true;
        let remedy = code::remedy(entry.code);
        if arguments.json {
            say(out, json!({"code": entry.code, "meaning": entry.meaning, "remedy": remedy}));
        } else {
            say(out, format_args!("{}: {}", entry.code, entry.meaning));
            if let Some(remedy) = remedy {
                say(out, format_args!("    {remedy}"));
            }
        }
    }
    if found { Ok(End::Yes) } else { Err(Fault::new(format!("no code begins with {prefix}"))) }
}

/// Whether a code is `prefix`, or in the group that it names.
fn within(prefix: &str, code: &str) -> bool {
    let prefix = prefix.strip_suffix('.').unwrap_or(prefix);
    prefix.is_empty()
        || code.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
