//! Our apalis backend: it wakes the worker, and carries nothing.

use std::pin::Pin;

use apalis::prelude::{
    BackendBuilder, BoxDynError, BuildError, CustomBackend, Task, TaskBuilder, TaskId, WorkerContext,
};
use futures::stream::BoxStream;
use futures::{Sink, StreamExt, sink, stream};

use super::waker::Waker;

/// "There may be work": a turn at the queue, not a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick;

type Ticks = BoxStream<'static, Result<Option<Task<Tick>>, BoxDynError>>;
type Pushes = Pin<Box<dyn Sink<Task<Tick>, Error = BoxDynError> + Send>>;

/// A backend whose tasks come whenever the waker says so. It never ends: an ended stream would stop the worker.
pub(super) fn ticks(waker: Waker) -> Result<CustomBackend<Tick, Waker, Ticks, Pushes>, BuildError> {
    BackendBuilder::new()
        .database(waker)
        .fetcher(|waker: &mut Waker, (): &(), _: &WorkerContext| -> Ticks {
            stream::unfold((waker.clone(), 0_u64), |(mut waker, number)| async move {
                waker.wait().await;
                let task = TaskBuilder::new(Tick).task_id(TaskId::from_int(number)).build();
                Some((Ok(Some(task)), (waker, number + 1)))
            })
            .boxed()
        })
        // Requests arrive through the doors of the database, never through apalis.
        .sink(|_: &mut Waker, (): &()| -> Pushes {
            Box::pin(sink::unfold((), |(), _: Task<Tick>| async {
                Err("requests are not pushed through apalis".into())
            }))
        })
        .build()
}
