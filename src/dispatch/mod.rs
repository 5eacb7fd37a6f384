//! Did this request reach that device, once, and what came back?
