//! One connection: carried until its client ends it, or its bounds do.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A request is a line and a few headers here; nobody reads a body.
const LONGEST_HEAD: usize = 16 << 10;

/// Whether a client is owed an answer, and since when: from the last byte of its request's head to the last one of the answer
/// that the operating system took. Nothing is owed between two requests, or in the middle of one.
#[derive(Debug, Clone)]
pub(super) struct Owed(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    since: Option<Instant>,
    /// Whether the answer is being made. (hyper may begin with one while the one before is still being written.)
    in_the_making: bool,
}

impl Owed {
    pub(super) fn nothing() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    /// Whether nothing is owed.
    pub(super) fn is_nothing(&self) -> bool {
        self.0.borrow().since.is_none()
    }

    /// One more answer. Of several the first counts: who asks on without taking any gets no more time for it.
    fn one(&self) {
        self.0.send_modify(|state| {
            state.since.get_or_insert_with(Instant::now);
            state.in_the_making = true;
        });
    }

    fn made(&self) {
        self.0.send_modify(|state| state.in_the_making = false);
    }

    /// All that was made is taken.
    fn taken(&self) {
        self.0.send_modify(|state| state.since = state.in_the_making.then(Instant::now));
    }

    /// Ends when one is owed for longer than that.
    async fn for_longer_than(&self, bound: Duration) {
        let mut owed = self.0.subscribe();
        loop {
            let since = owed.borrow_and_update().since;
            let left = since.map_or(Duration::MAX, |since| bound.saturating_sub(since.elapsed()));
            if tokio::time::timeout(left, owed.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// Carries a connection. `patience` is for the head of a request, the first and any later one, and for an answer.
pub(super) async fn carry(
    stream: TcpStream,
    pages: Router,
    patience: Duration,
    owed: Owed,
    shutdown: CancellationToken,
) {
    let stream = Watched { stream, owed: owed.clone(), written: false };
    let (router, counted) = (TowerToHyperService::new(pages), owed.clone());
    let answer = service_fn(move |request: Request<Incoming>| {
        counted.one();
        let (answer, counted) = (router.call(request), counted.clone());
        async move {
            let answer = answer.await;
            counted.made();
            answer
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(LONGEST_HEAD);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), answer));
    let mut overdue = pin!(owed.for_longer_than(patience));
    tokio::select! {
        // An error is the client's: it left, was silent for too long, or spoke no HTTP.
        _ = connection.as_mut() => return,
        () = overdue.as_mut() => return,
        () = shutdown.cancelled() => {}
    }
    if !owed.is_nothing() {
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = overdue => {}
        }
    }
}

/// The stream of a connection, which notes when all that was to be written is written.
struct Watched {
    stream: TcpStream,
    owed: Owed,
    /// Whether anything was written since the last flush.
    written: bool,
}

impl Watched {
    fn wrote(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.written |= matches!(polled, Poll::Ready(Ok(_)));
        polled
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Otherwise the operating system would go on offering the answer to somebody who does not take it.
        if !self.owed.is_nothing() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if std::mem::take(&mut self.written) {
            self.owed.taken();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
