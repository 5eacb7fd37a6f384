//! TOML as JSON: one reader for both, which is told where each value of the JSON stands in the file.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Finding,
    finding::{bare, position},
};
use crate::{attestation::strict::Limits, code};

/// The file as text, as JSON, and where each value and key of the JSON stands in the file.
pub(super) type Translated<'a> = (&'a str, String, Vec<(usize, usize)>);

/// Writes the file as JSON.
pub(super) fn to_json<'a>(text: &'a [u8], limits: &Limits) -> Result<Translated<'a>, Finding> {
    if text.len() > limits.max_bytes() {
        return Err(bare(code::JSON_TOO_LARGE, 1, 1, "the document is too large".to_string()));
    }
    let text = core::str::from_utf8(text).map_err(|error| {
        let before = text.get(..error.valid_up_to()).unwrap_or_default();
        let (line, column) = position(&String::from_utf8_lossy(before), before.len());
        bare(code::JSON_UTF8, line, column, "not UTF-8".to_string())
    })?;
    let table = DeTable::parse(text).map_err(|error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        bare(code::JSON_GRAMMAR, line, column, format!("not TOML: {}", error.message()))
    })?;
    let mut writer = Writer { text, json: String::new(), origins: Vec::new() };
    writer.table(table.get_ref(), limits.max_depth())?;
    Ok((text, writer.json, writer.origins))
}

struct Writer<'a> {
    text: &'a str,
    json: String,
    origins: Vec<(usize, usize)>,
}

impl Writer<'_> {
    fn refuse(&self, at: usize, message: &str) -> Finding {
        let (line, column) = position(self.text, at);
        bare(code::JSON_SHAPE, line, column, message.to_string())
    }

    fn mark(&mut self, origin: usize) {
        self.origins.push((self.json.len(), origin));
    }

    fn string(&mut self, text: &str) {
        // A JSON string of any text: writing one cannot fail.
        self.json.push_str(&serde_json::to_string(text).unwrap_or_default());
    }

    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Result<(), Finding> {
        self.json.push('{');
        for (nth, (key, value)) in table.iter().enumerate() {
            if nth > 0 {
                self.json.push(',');
            }
            self.mark(key.span().start);
            self.string(key.get_ref());
            self.json.push(':');
            self.value(value, depth)?;
        }
        self.json.push('}');
        Ok(())
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<(), Finding> {
        let at = value.span().start;
        let depth = depth.checked_sub(1).ok_or_else(|| self.refuse(at, "nested too deep"))?;
        self.mark(at);
        match value.get_ref() {
            DeValue::String(text) => self.string(text),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => self.json.push_str(&number.to_string()),
                Err(_) => return Err(self.refuse(at, "a number beyond 64 bits")),
            },
            DeValue::Boolean(flag) => self.json.push_str(if *flag { "true" } else { "false" }),
            DeValue::Float(_) => return Err(self.refuse(at, "no policy has fractions: write a whole number")),
            DeValue::Datetime(_) => {
                return Err(self.refuse(at, "no policy has dates: write milliseconds since 1970"));
            }
            DeValue::Array(list) => {
                self.json.push('[');
                for (nth, element) in list.iter().enumerate() {
                    if nth > 0 {
                        self.json.push(',');
                    }
                    self.value(element, depth)?;
                }
                self.json.push(']');
            }
            DeValue::Table(table) => self.table(table, depth)?,
        }
        Ok(())
    }
}
