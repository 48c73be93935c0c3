//! Threads that share a piece of work: one for each processor, at least three, fewer where the host has no room for more.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::{self, Builder};

use crate::host::StepError;

/// So many have a thread each, whatever the number of processors: most of the time they wait for a tool.
const FEW: usize = 3;

/// The processors that this process may use. Asked for once, and not for a few: to know of limits, std reads the list of all mounts,
/// of which each namespace is one, and 1,100 take 2.5 ms.
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));

/// How many are of use for `items` that don't depend on each other.
pub fn size(items: usize) -> usize {
    if items <= FEW { items } else { items.min(FEW.max(*PROCESSORS)) }
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

/// Runs `work` in a thread of its own: what it does to its thread is nobody else's concern.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = Builder::new().spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Does both side by side, or one after the other where the host has no room for another thread.
pub fn both<A: Send, B>(one: impl Fn() -> A + Sync, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let beside = Builder::new().spawn_scoped(scope, &one);
        let second = other();
        let first = match beside {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => one(),
        };
        (first, second)
    })
}

/// What `work` makes of each, in no order. The first failure, or a signal, keeps the others from being begun. Of several failures
/// the first counts, but for one by a name that is taken.
pub fn map<T: Send, R: Send>(
    items: Vec<T>,
    interrupted: &AtomicBool,
    work: impl Fn(T) -> Result<R, StepError> + Sync,
) -> Result<Vec<R>, StepError> {
    let workers = size(items.len());
    let left = Mutex::new(VecDeque::from(items));
    let results = Mutex::new(Ok(Vec::new()));
    let take = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    run(workers, &|| {
        while let Some(item) = take() {
            let result = if interrupted.load(Ordering::Relaxed) { Err(StepError::interrupted()) } else { work(item) };
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *results, result) {
                (Ok(done), Ok(result)) => done.push(result),
                (Ok(_), Err(error)) => *results = Err(error),
                // That somebody has a name says what must not be undone: no other failure hides it.
                (Err(first), Err(error)) if error.is_name_taken() && !first.is_name_taken() => *first = error,
                (Err(_), _) => {}
            }
            if results.is_err() {
                break;
            }
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_or_a_signal_keeps_what_is_left_from_being_begun() {
        let interrupted = AtomicBool::new(false);
        let mut doubled = map((0..100).collect(), &interrupted, |n| Ok(2 * n)).unwrap();
        doubled.sort_unstable();
        assert_eq!(doubled, (0..100).map(|n| 2 * n).collect::<Vec<_>>());
        let begun = Mutex::new(0);
        let work = |n: usize| {
            *begun.lock().unwrap() += 1;
            if n < 10 { Ok(n) } else { Err(StepError::new("", "", "it fails")) }
        };
        assert_eq!(map((0..1_000_000).collect(), &interrupted, work).unwrap_err().reason, "it fails");
        assert!(*begun.lock().unwrap() < 10_000, "{begun:?}");
        let both_failing = std::sync::Barrier::new(2);
        for taken in 0..2 {
            let work = |n: usize| -> Result<(), StepError> {
                both_failing.wait();
                Err(StepError::new("", "", if n == taken { "File exists" } else { "another failure" }))
            };
            assert!(map(vec![0, 1], &interrupted, work).unwrap_err().is_name_taken());
        }
        let begun = Mutex::new(0);
        let work = |_| {
            *begun.lock().unwrap() += 1;
            interrupted.store(true, Ordering::Relaxed);
            Ok(())
        };
        assert!(map((0..1_000_000).collect(), &interrupted, work).unwrap_err().interrupted);
        assert!(*begun.lock().unwrap() < 10_000, "{begun:?}");
    }
}
