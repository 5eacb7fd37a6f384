//! Who may run this, until when, and who had it before?
