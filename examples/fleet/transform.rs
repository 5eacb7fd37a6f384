//! The built-in work on bytes: counting, sorting, and rows of comma-separated values as JSON objects.

use serde_json::{Map, Value, json};

use crate::jobs::Transform;

/// Lines, words and bytes, as `wc` counts them.
pub fn count(bytes: &[u8]) -> Value {
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    json!({ "lines": lines, "words": words, "bytes": bytes.len() })
}

/// Applies `with` to `input`.
pub fn apply(with: Transform, input: &[u8]) -> Result<Vec<u8>, String> {
    match with {
        Transform::Upper => Ok(input.to_ascii_uppercase()),
        Transform::SortLines => {
            let mut lines: Vec<&[u8]> = input.split_inclusive(|&byte| byte == b'\n').collect();
            lines.sort_unstable();
            Ok(lines.concat())
        }
        Transform::CsvToJson => {
            let text = std::str::from_utf8(input).map_err(|_| "the table is not UTF-8".to_owned())?;
            csv_to_json(text)
        }
    }
}

fn csv_to_json(text: &str) -> Result<Vec<u8>, String> {
    let mut rows = rows(text)?.into_iter();
    let header = rows.next().ok_or("the table has no first row")?;
    let mut out = Vec::new();
    for (number, row) in rows.enumerate() {
        if row.len() != header.len() {
            return Err(format!(
                "row {} has {} fields, the first has {}",
                number + 2,
                row.len(),
                header.len()
            ));
        }
        let object: Map<String, Value> =
            header.iter().cloned().zip(row.into_iter().map(Value::from)).collect();
        out.extend(Value::Object(object).to_string().bytes());
        out.push(b'\n');
    }
    Ok(out)
}

/// The rows of RFC 4180 text: fields may be quoted, a quote within is doubled.
fn rows(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            c if quoted => field.push(c),
            ',' => row.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err("a quoted field has no end".into());
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformations_do_what_their_names_say() {
        let table: &[(Transform, &str, Result<&str, &str>)] = &[
            (Transform::SortLines, "b\na\nc\n", Ok("a\nb\nc\n")),
            (Transform::Upper, "abc 1\n", Ok("ABC 1\n")),
            (
                Transform::CsvToJson,
                "name,age\r\n\"Ann, \"\"A\"\"\",3\r\nBob,4",
                Ok("{\"age\":\"3\",\"name\":\"Ann, \\\"A\\\"\"}\n{\"age\":\"4\",\"name\":\"Bob\"}\n"),
            ),
            (Transform::CsvToJson, "a,b\n1\n", Err("row 2 has 1 fields, the first has 2")),
            (Transform::CsvToJson, "a\n\"x", Err("a quoted field has no end")),
            (Transform::CsvToJson, "", Err("the table has no first row")),
        ];
        for (with, input, want) in table {
            let got =
                apply(*with, input.as_bytes()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert_eq!(got.as_deref().map_err(String::as_str), *want, "{input}");
        }
        assert_eq!(count(b"one two\n three\n"), json!({ "lines": 2, "words": 3, "bytes": 15 }));
    }
}
