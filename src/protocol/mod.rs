//! Messages and frames between coordinator, worker and enforcement point.
