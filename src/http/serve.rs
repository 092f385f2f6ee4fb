//! The listener, with limits: a silent or slow caller costs a bounded time, and many callers a bounded number of connections.

use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Doors;

/// Bytes that a connection may keep of what came and was not asked for yet; also the limit of a request's headers.
const MOST_BUFFERED: usize = 64 * 1024;
/// A body must come at least this fast, but for waits that are together no longer than [`Bounds::patience`]: some 1 % of a poor line.
const SLOWEST_BODY_BYTES_PER_S: u64 = 16 * 1024;
/// Connections that may wait to be taken; Linux cuts it to `net.core.somaxconn`, 4096 by default.
const LONGEST_QUEUE: u32 = 16 * 1024;
/// Pause after the operating system has no more connections to give.
const PAUSE: Duration = Duration::from_millis(200);

/// What callers are allowed.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at one time; more wait in the operating system's queue.
    pub connections: usize,
    /// How long a request's head may take, and a connection may be silent between requests; a body has as long, and longer while it
    /// comes.
    pub patience: Duration,
}

/// Opens the door. As many callers as the operating system lets may come at one moment: whoever finds its queue full tries again a
/// second later, and the usual queue is 128 long.
///
/// # Errors
/// When the address is in use or not ours.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LONGEST_QUEUE)
}

/// Serves until `stop` is cancelled, and then until the requests under way have ended.
pub async fn serve(listener: TcpListener, doors: Doors, bounds: Bounds, stop: CancellationToken) {
    let seats = Arc::new(Semaphore::new(bounds.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let seat = tokio::select! {
            seat = Arc::clone(&seats).acquire_owned() => seat,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(it) => it,
                Err(error) => {
                    rest(&error).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let (doors, watcher) = (doors.clone(), graceful.watcher());
        tokio::spawn(async move {
            attend(stream, peer, doors, bounds.patience, watcher).await;
            drop(seat);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// After a failed `accept`: a caller who has gone already costs nothing, but without files there is nothing to do but wait.
async fn rest(error: &io::Error) {
    if !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
    {
        warn!(error = %error, "no connection can be taken at the moment");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Answers one connection's requests.
async fn attend(stream: TcpStream, peer: SocketAddr, doors: Doors, patience: Duration, watcher: Watcher) {
    // Small answers should not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = %error, "a connection has no nodelay");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (doors, request) = (doors.clone(), request.map(|body| Paced::new(body, patience)));
        async move { Ok::<_, Infallible>(doors.answer(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MOST_BUFFERED)
        .serve_connection(TokioIo::new(stream), service);
    // Callers hang up, time out and talk nonsense all the time; none of it is our trouble.
    if let Err(error) = watcher.watch(connection).await {
        debug!(error = %error, "a connection ended early");
    }
}

/// The body has come too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
struct TooSlow;

/// How long a body is waited for.
struct Pace {
    patience: Duration,
    /// Every byte moves it on, but never further than the patience from now: what came fast does not pay for a long silence, nor for
    /// a byte now and then.
    until: Instant,
}

impl Pace {
    fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, until: now + patience }
    }

    fn came(&mut self, bytes: usize, now: Instant) {
        let earned = Duration::from_micros(bytes as u64 * 1_000_000 / SLOWEST_BODY_BYTES_PER_S);
        self.until = (self.until + earned).min(now + self.patience);
    }
}

/// A body that fails when it comes too slowly, so that half-sent ones do not stay for ever.
pub struct Paced {
    body: Incoming,
    pace: Pace,
    /// Begins with the first wait: most bodies are there at once.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    fn new(body: Incoming, patience: Duration) -> Self {
        Self { body, pace: Pace::new(patience, Instant::now()), alarm: None }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            if let Some(Ok(frame)) = &frame
                && let Some(bytes) = frame.data_ref()
            {
                self.pace.came(bytes.len(), Instant::now());
            }
            return Poll::Ready(frame.map(|it| it.map_err(axum::Error::new)));
        }
        let until = self.pace.until;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Some(Err(axum::Error::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Lets this process have as many files as it may: every connection is one, and what is usual (1024) is less than a contact centre.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(error = %error, "the number of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until a body is refused that comes in such parts: each after so many milliseconds, of so many bytes. After the last there
    /// is silence.
    #[track_caller]
    fn check(parts: impl IntoIterator<Item = (u64, usize)>, refused_after_s: u64) {
        let began = Instant::now();
        let mut now = began;
        let mut pace = Pace::new(Duration::from_secs(10), now);
        for (wait_ms, bytes) in parts {
            now += Duration::from_millis(wait_ms);
            if now > pace.until {
                break;
            }
            pace.came(bytes, now);
        }
        assert_eq!((pace.until - began).as_secs(), refused_after_s);
    }

    #[test]
    fn a_body_is_refused_when_it_falls_silent_however_much_of_it_came() {
        const MIB: usize = 1 << 20;
        check([], 10);
        check([(0, 100)], 10);
        check([(0, 9 * MIB)], 10);
        check([(9_000, 9 * MIB)], 19);
        // A byte now and then does not keep it alive, not even after much.
        check([(0, 9 * MIB)].into_iter().chain((0..100).map(|_| (1_000, 1))), 10);
        // A slow line is heard to the end, with a wait among it.
        check((0..100).map(|_| (1_000, 16 * 1024)), 110);
        check((0..100).map(|n| (if n == 50 { 9_000 } else { 900 }, 16 * 1024)), 105);
        // Half as fast: the patience is used up after twice its time.
        check((0..100).map(|_| (1_000, 8 * 1024)), 19);
    }

    #[tokio::test]
    async fn a_crowd_may_come_at_one_moment() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody is taken: all of them wait in the queue.
        let crowd = futures::future::join_all((0..300).map(|_| TcpStream::connect(address)));
        let crowd = tokio::time::timeout(Duration::from_secs(20), crowd).await.unwrap();
        assert!(crowd.iter().all(Result::is_ok));
    }
}
