//! What would leasehold decide, and why? One JSON object per line in, exactly one JSON object per line out.
//!
//!     cargo run -q --release --example explain < cases.jsonl > answers.jsonl
//!     cargo run -q --release --example explain -- --pretty '{"kind":"address","ip":"::ffff:10.0.0.1"}'
//!
//! This file reads lines and writes answers; `answer` gives them.

use std::io::{self, BufRead, Read, Write};

use leasehold::code;
use serde_json::json;

mod answer;

use answer::{MAX_LINE, Refused, answer};

/// Reads up to the next line feed. `Ok(None)` at the end of input; a line over the limit is skipped whole.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Result<(), Refused>>> {
    line.clear();
    let limit = MAX_LINE as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_LINE {
        input.skip_until(b'\n')?;
        return Ok(Some(Err(Refused::new(code::EXPLAIN_TOO_LONG, "the line is over 8 MiB"))));
    }
    Ok(Some(Ok(())))
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut output = io::stdout().lock();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            let mut input = io::stdin().lock();
            let mut line = Vec::new();
            while let Some(read) = next_line(&mut input, &mut line)? {
                let answer = match read {
                    Ok(()) => answer(&line),
                    Err(refused) => json!({"error": {"code": refused.code, "message": refused.message}}),
                };
                serde_json::to_writer(&mut output, &answer)?;
                output.write_all(b"\n")?;
                // A caller that waits for this answer before it asks again must see it now.
                output.flush()?;
            }
            Ok(())
        }
        ["--pretty", line] => {
            let mut answer = answer(line.as_bytes());
            if let (Some(table), Some(object)) = (answer::table(&answer), answer.as_object_mut()) {
                object.insert("table".into(), json!(table));
                object.remove("checks");
            }
            serde_json::to_writer_pretty(&mut output, &answer)?;
            output.write_all(b"\n")
        }
        _ => {
            eprintln!(
                "usage: explain < cases.jsonl\n       explain --pretty '{{\"kind\":\"address\",\"ip\":\"::1\"}}'"
            );
            std::process::exit(2)
        }
    }
}
