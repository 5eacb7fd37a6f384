//! Kind `host_rule`.

use serde_json::Value;

use crate::Refused;

pub fn answer(_line: &[u8]) -> Result<Value, Refused> {
    Err(Refused::new(leasehold::code::EXPLAIN_UNSUPPORTED, "not answered yet"))
}
