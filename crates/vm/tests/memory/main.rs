//! Memory of machines that are paused, written, forked, merged and restored in any order, compared
//! with a model.
//!
//! A step is drawn by a seed, which is printed. `CASEMATE_MEMORY` says how many steps, and from which
//! seed: `1000:7`.

#[path = "../world/mod.rs"]
#[allow(dead_code, reason = "other tests need the rest")]
mod world;

mod guest;
mod play;
mod region;

use play::Play;
use world::World;

const STEPS: &str = "CASEMATE_MEMORY";
const FEW: &str = "90:1";

#[tokio::test]
async fn memory_is_what_was_written_whatever_is_done_with_the_machine() {
    let Some(world) = World::find() else { return };
    let said = std::env::var(STEPS).unwrap_or_else(|_| FEW.to_owned());
    let (steps, seed) = said.split_once(':').unwrap_or((&said, "1"));
    let (steps, seed) = (steps.parse().expect(STEPS), seed.parse().expect(STEPS));
    println!("{STEPS}={steps}:{seed}");
    let mut play = Play::begin(world, seed).await;
    for step in 0..steps {
        play.step(step).await;
    }
    println!("{:?}", play.end().await);
}

/// The guest's, and no test of the host's.
#[test]
#[ignore = "it is the first program of a machine"]
fn first_program() {
    let Some(port) = world::first::begin() else {
        return;
    };
    let memory = guest::Memory::new();
    world::first::serve(port, |asked| match asked.strip_prefix("echo ") {
        Some(words) => words.to_owned(),
        None => memory.answer(asked),
    });
}
