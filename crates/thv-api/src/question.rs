//! A question that others have to be asked for, asked once for all who want to know: whoever comes meanwhile waits for the same
//! answer, and for a moment it is given again. What is asked is the routes' business.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thv_config::world::Clock;
use tokio::sync::watch;

use crate::limits::ANSWER_TIME;

/// A question about `K` that `T` answers; errors are answers, too.
pub(crate) struct Question<K, T> {
    clock: Arc<dyn Clock>,
    last: Mutex<Option<Asked<K, T>>>,
}

/// The question as it was asked last.
struct Asked<K, T> {
    about: K,
    answer: watch::Receiver<Option<Answer<T>>>,
}

struct Answer<T> {
    value: Arc<T>,
    at: Duration,
}

// === impl Question ===

impl<K: PartialEq, T: Send + Sync + 'static> Question<K, T> {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            last: Mutex::default(),
        }
    }

    /// The answer of now, or of a moment ago as long as the question is about the same. It is looked for in a task of its own, so
    /// that nobody who leaves takes it from the others. `None` when it got lost.
    pub(crate) async fn answer<F>(&self, about: K, ask: impl FnOnce() -> F) -> Option<Arc<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut answer = self.asked(about, ask);
        let found = answer.wait_for(Option::is_some).await.ok()?;
        found.as_ref().map(|answer| Arc::clone(&answer.value))
    }

    fn asked<F>(&self, about: K, ask: impl FnOnce() -> F) -> watch::Receiver<Option<Answer<T>>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        if let Some(asked) = &*last
            && asked.about == about
            && asked.is_good(now)
        {
            return asked.answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        let (clock, work) = (Arc::clone(&self.clock), ask());
        tokio::spawn(async move {
            let value = Arc::new(work.await);
            let at = clock.monotonic();
            sender.send_replace(Some(Answer { value, at }));
        });
        *last = Some(Asked {
            about,
            answer: answer.clone(),
        });
        answer
    }
}

impl<K, T> fmt::Debug for Question<K, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Question").finish_non_exhaustive()
    }
}

// === impl Asked ===

impl<K, T> Asked<K, T> {
    /// Whether the answer is still to come, or came a moment ago.
    fn is_good(&self, now: Duration) -> bool {
        match &*self.answer.borrow() {
            Some(answer) => now.saturating_sub(answer.at) < ANSWER_TIME,
            None => self.answer.has_changed().is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use jiff::Timestamp;
    use thv_config::world::ManualClock;
    use tokio::sync::oneshot;

    use super::*;

    struct House {
        clock: ManualClock,
        question: Question<u8, Result<usize, &'static str>>,
        asked: Arc<AtomicUsize>,
    }

    impl House {
        fn new() -> Self {
            let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
            Self {
                question: Question::new(Arc::new(clock.clone())),
                clock,
                asked: Arc::default(),
            }
        }

        /// The number of the question that was answered.
        async fn ask(&self, about: u8) -> usize {
            let asked = Arc::clone(&self.asked);
            let answer = self.question.answer(about, || async move {
                Ok(asked.fetch_add(1, Ordering::Relaxed))
            });
            answer.await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn many_who_ask_are_one_question_and_its_answer_is_good_for_a_moment() {
        let house = House::new();
        let answers = join_all((0..200).map(|_| house.ask(1))).await;
        assert!(answers.iter().all(|answer| *answer == 0));
        house.clock.advance(ANSWER_TIME.mul_f32(0.5));
        assert_eq!(house.ask(1).await, 0);
        assert_eq!(house.ask(2).await, 1, "another question");
        house.clock.advance(ANSWER_TIME);
        assert_eq!(house.ask(2).await, 2);
    }

    #[tokio::test]
    async fn whoever_leaves_takes_the_answer_from_nobody_and_errors_are_shared() {
        let house = House::new();
        let (open, gate) = oneshot::channel::<()>();
        let mut first = Box::pin(house.question.answer(1, || async move {
            let _ = gate.await;
            Err("no answer")
        }));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(
            house
                .question
                .answer(1, || async { unreachable!("it is being asked") }),
        );
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        open.send(()).unwrap();
        assert_eq!(*second.await.unwrap(), Err("no answer"));
        let again = house.question.answer(1, || async { Ok(7) });
        assert_eq!(*again.await.unwrap(), Err("no answer"));
    }

    #[tokio::test]
    async fn an_answer_that_got_lost_is_looked_for_again() {
        let house = House::new();
        let lost = house
            .question
            .answer(1, || async { panic!("a fault of ours") });
        assert!(lost.await.is_none());
        assert_eq!(house.ask(1).await, 0);
    }
}
