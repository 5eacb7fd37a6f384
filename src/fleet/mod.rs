//! Who may run this, until when, and who had it before?

mod counts;

pub use self::counts::WorkerFleetCounts;
