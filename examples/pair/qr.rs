//! A QR code in the terminal, two modules in one character.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use crate::Failure;

/// Black on white, whatever the terminal's own colours are: a reader wants dark modules on a light ground.
const COLOURS: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// Draws `text`, with the quiet zone that readers need. In colour where `coloured`.
pub fn draw(text: &str, coloured: bool) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L)
        .map_err(|error| Failure::new(error.to_string()))?;
    let drawn = code.render::<Dense1x2>().quiet_zone(true).build();
    let line = |line: &str| if coloured { format!("{COLOURS}{line}{PLAIN}\n") } else { format!("{line}\n") };
    Ok(drawn.lines().map(line).collect())
}

/// Whether `drawn` is exactly the code of `text`, judged module by module and not by drawing it again.
pub fn shows(drawn: &[String], text: &str) -> bool {
    const QUIET: usize = 4;
    let Ok(code) = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L) else { return false };
    let width = code.width();
    let rows: Vec<Vec<char>> = drawn.iter().map(|line| line.chars().collect()).collect();
    let dark = |x: usize, y: usize| match rows.get(y / 2).and_then(|row| row.get(x)) {
        Some('\u{2588}') => true,
        Some('\u{2580}') => y.is_multiple_of(2),
        Some('\u{2584}') => !y.is_multiple_of(2),
        _ => false,
    };
    let side = width + 2 * QUIET;
    let inside = |at: usize| (QUIET..QUIET + width).contains(&at);
    let module =
        |x: usize, y: usize| inside(x) && inside(y) && code[(x - QUIET, y - QUIET)] == qrcode::Color::Dark;
    rows.len() == side.div_ceil(2)
        && rows.iter().all(|row| row.len() == side)
        && (0..side).all(|y| (0..side).all(|x| dark(x, y) == module(x, y)))
}
