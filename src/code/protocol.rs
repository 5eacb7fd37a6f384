//! Codes of the protocol part: frames, messages, endpoints, and the `explain` line protocol.

use super::codes;

codes! { PROTOCOL:
    EXPLAIN_MALFORMED = "explain.malformed", "a line is not one JSON object of the shape that its kind asks for";
    EXPLAIN_UNKNOWN_KIND = "explain.unknown_kind", "no such kind of question";
    EXPLAIN_TOO_LONG = "explain.too_long", "a line is over 8 MiB";
    EXPLAIN_UNSUPPORTED = "explain.unsupported", "this kind of question cannot be answered yet";
}
