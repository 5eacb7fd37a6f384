//! A property of one's own service: whatever happens to the fleet, the board names the newest lease of every run.

use downstream::Board;
use leasehold::testing::{Stepped, World, strategies};
use proptest::prelude::*;

proptest! {
    #[test]
    fn the_board_names_the_newest_lease_of_every_run(steps in strategies::fleet_steps(60)) {
        let (mut world, mut board) = (World::populated(|_| {}), Board::default());
        for step in &steps {
            let stepped = world.step(step);
            if let Stepped::Done(events) = &stepped {
                events.iter().for_each(|event| board.read(event));
            }
            for lease in world.fleet.state().live_leases() {
                prop_assert_eq!(board.newest(&lease.terms.run), Some(lease.fence), "{:?}: {:?}", step, stepped);
            }
        }
    }
}
