//! A terminal as both sides use it: lines in, lines out, a prompt where a person sits there.

use std::{
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    thread,
};

use crate::{Failure, escape::shown};

/// The longest line that is read. The text of a QR code has under 200 bytes.
const MAX_LINE: u64 = 1024;

/// Reads lines in a thread and hands them to `tell`; `None` is the end of input, or Ctrl-C.
pub fn listen(tell: impl Fn(Option<String>) -> bool + Clone + Send + 'static) -> Result<(), Failure> {
    let interrupt = tell.clone();
    ctrlc::set_handler(move || {
        interrupt(None);
    })
    .map_err(|error| Failure::new(error.to_string()))?;
    thread::Builder::new().name("terminal".into()).spawn(move || {
        let mut input = BufReader::new(io::stdin());
        loop {
            let mut line = Vec::new();
            match (&mut input).take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(count) if count > 0 => {}
                _ => break,
            }
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            if !tell(Some(text)) {
                return;
            }
        }
        tell(None);
    })?;
    Ok(())
}

/// Whether a person sits here.
pub fn is_person() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Shows a line. What peers wrote is in it only as [`shown`] makes it.
pub fn say(line: &str) {
    print(&format!("{}\n", shown(line)));
}

/// Shows text of this program's own as it is, several lines of it. Where a prompt stands, it takes its place.
pub fn print(text: &str) {
    write(if is_person() { "\r\x1b[K" } else { "" }, text);
}

/// Says that it is the person's turn.
pub fn prompt(name: &str) {
    if is_person() {
        write("\r\x1b[K", &format!("{name}> "));
    }
}

fn write(before: &str, text: &str) {
    let mut out = io::stdout().lock();
    // A terminal that is gone cannot be told so.
    let _ = out
        .write_all(before.as_bytes())
        .and_then(|()| out.write_all(text.as_bytes()))
        .and_then(|()| out.flush());
}
