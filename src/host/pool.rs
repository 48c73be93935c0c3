//! Threads that share a piece of work: one for each processor, or fewer where the host has no room for more.

use std::thread::{self, Builder};

/// How many are of use for `items` that don't depend on each other.
pub fn size(items: usize) -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(items)
}

/// Runs `work` in so many threads, this one among them, and waits for all. `work` takes from what is to be done until nothing is
/// left, so that it is done whole however many start.
pub fn run(workers: usize, work: &(dyn Fn() + Sync)) {
    thread::scope(|scope| {
        for _ in 1..workers {
            if let Err(error) = Builder::new().spawn_scoped(scope, work) {
                tracing::debug!("no further thread: {error}");
                break;
            }
        }
        work();
    });
}
