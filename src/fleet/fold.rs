//! Folds a record that another process decided. The record is believed only if it is possible.

use super::{event::FleetRecord, state::FleetState, stored::RecoverError};

impl FleetState {
    /// Folds a stored record, after checking that it comes next and that each event is possible.
    pub(crate) fn fold(&mut self, record: &FleetRecord) -> Result<(), RecoverError> {
        if record.index != self.index.saturating_add(1) {
            return Err(RecoverError::Inconsistent("a record is missing or repeated"));
        }
        self.index = record.index;
        for event in &record.events {
            self.possible(record.at, event).map_err(RecoverError::Inconsistent)?;
            self.evolve(record.at, event).map_err(RecoverError::Inconsistent)?;
        }
        Ok(())
    }
}
