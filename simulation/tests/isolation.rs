//! One bad receiver of a hundred, in virtual time. `simulate isolation` measures more traffic.

use simulation::isolation::{Plan, measure};

#[test]
fn one_bad_receiver_of_a_hundred_moves_the_p99_of_the_others_by_less_than_a_tenth() {
    // Longer than the attempts at a receiver that never answers.
    let rows = measure(Plan { destinations: 100, secs: 40, calls_per_second: 2 });
    for row in &rows {
        println!("{row}");
        assert_eq!(row.problems(&rows[0]), [""; 0], "{}", row.way);
    }
}
