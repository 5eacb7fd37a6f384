//! The crate's attack catalogue against the policy that this service ships with.

use leasehold::{
    policy_file::{self, Notation},
    testing::attacks,
};

#[test]
fn no_attack_of_the_catalogue_gets_through() {
    let policy = policy_file::read_egress(include_bytes!("../egress.json"), Notation::Json, &()).unwrap();
    let report = attacks::replay(&policy.document).unwrap();
    assert!(report.holds() && report.rows.len() > 100, "{report}");
}
