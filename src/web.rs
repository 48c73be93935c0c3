//! A small web server that says the same to every request: what `deploy-app` starts by default, and the sandbox's internet.
//!
//! What clients can cost is bounded: the number of connections, and the time for a request's head.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

/// How many connections are served at a time; further clients wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// How long a connection may take for a request's head, or be idle.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may last at all.
const LIFETIME: Duration = Duration::from_secs(60);

/// How long the server rests where the kernel has no room for a connection.
const REST: Duration = Duration::from_millis(50);

/// A request, as far as an answer may depend on it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The server's own address.
    pub here: SocketAddr,
    /// The client's.
    pub peer: SocketAddr,
    /// Method and path: `GET /`.
    pub line: String,
}

/// Serves until the process ends; returns only where it can't begin.
pub fn serve(listener: TcpListener, answer: impl Fn(Asked) -> String + 'static) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(accept(&listener, &Rc::new(answer)).await)
    })
}

async fn accept(listener: &tokio::net::TcpListener, answer: &Rc<impl Fn(Asked) -> String + 'static>) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let answer = Rc::clone(answer);
                tokio::task::spawn_local(async move {
                    // What goes wrong with one connection is its own end.
                    if let Err(error) = converse(stream, peer, answer).await {
                        tracing::debug!("a connection of {peer} ended early: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("no connection: {error}");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// One connection, with as many requests as come in it.
async fn converse(stream: TcpStream, peer: SocketAddr, answer: Rc<impl Fn(Asked) -> String>) -> anyhow::Result<()> {
    let here = stream.local_addr()?;
    let respond = |request: Request<Incoming>| {
        let line = format!("{} {}", request.method(), request.uri().path());
        let body = answer(Asked { here, peer, line });
        async move { Response::builder().header(CONTENT_TYPE, "text/plain; charset=utf-8").body(Full::<Bytes>::from(body)) }
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    // A half-closed connection is answered: people pipe requests into `nc`.
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).half_close(true);
    let connection = http.serve_connection(TokioIo::new(stream), service_fn(respond));
    Ok(tokio::time::timeout(LIFETIME, connection).await??)
}
