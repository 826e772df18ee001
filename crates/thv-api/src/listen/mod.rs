//! Where we listen, and the connections from there: binding, accepting, time limits, the
//! graceful stop. What is said over a connection is the business of [`crate::Api`].

mod connection;
mod head_timer;
mod tcp;
#[cfg(unix)]
mod unix;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Api;
use crate::edge::HostPolicy;
use crate::limits;

/// What names a pipe rather than a socket file, in any letter case.
const PIPE_PREFIX: &str = r"\\.\pipe\";

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port on one host; port 0 takes any free one.
    Tcp {
        /// Host name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Socket(PathBuf),
    /// A Windows named pipe.
    Pipe(String),
}

/// Why we cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had: it is taken, not ours, or not allowed.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address as it was given.
        address: String,
        /// What the system said.
        cause: io::Error,
    },
    /// A file that is no socket lies at the socket's path; it is left alone.
    #[error(
        "cannot listen on {}: there is a file that is not a socket; give another --socket path or remove it",
        path.display()
    )]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process answers at the socket.
    #[error("another ToolHive server is already running at unix://{}: it answers at this socket", path.display())]
    SocketInUse {
        /// The path.
        path: PathBuf,
    },
    /// The path cannot be told in a record, since it is no UTF-8 text.
    #[error("cannot listen on {}: the path is not valid UTF-8", path.display())]
    PathNotText {
        /// The path.
        path: PathBuf,
    },
    /// Pipes exist on Windows only.
    #[error("named pipe addresses are only supported on Windows: {address}")]
    PipeElsewhere {
        /// The address as it was given.
        address: String,
    },
    /// This system lacks the kind of address.
    #[error("this build cannot listen on {address}; listen on TCP instead")]
    Unsupported {
        /// The address as it was given.
        address: String,
    },
}

/// A bound address. Dropping it closes it and removes the socket file, if that is still ours.
#[derive(Debug)]
pub struct Listener {
    acceptor: Acceptor,
    url: String,
    hosts: HostPolicy,
}

#[derive(Debug)]
enum Acceptor {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(unix::Bound),
}

#[derive(Debug)]
enum Stream {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy when the grace was over, and were cut.
    pub cut: usize,
}

/// Binds `address`.
pub async fn listen(address: &Address) -> Result<Listener, ListenError> {
    match address {
        Address::Tcp { host, port } => tcp::bind(host, *port).await,
        #[cfg(unix)]
        Address::Socket(path) => unix::bind(path).await,
        #[cfg(not(unix))]
        Address::Socket(path) => Err(ListenError::Unsupported {
            address: path.display().to_string(),
        }),
        Address::Pipe(address) if cfg!(windows) => Err(ListenError::Unsupported {
            address: address.clone(),
        }),
        Address::Pipe(address) => Err(ListenError::PipeElsewhere {
            address: address.clone(),
        }),
    }
}

/// Serves until `shutdown`; then takes no more connections, ends logins that wait for a person,
/// lets the requests under way finish for at most `grace`, and only then cuts what is left (W40).
///
/// The discovery record must be released before `shutdown` is cancelled: a successor looks
/// there first.
pub async fn serve(
    listener: Listener,
    api: Api,
    shutdown: CancellationToken,
    grace: Duration,
) -> Drained {
    let mut connections = JoinSet::new();
    {
        // One that was accepted and is not judged yet would be lost if the end of another one began the accepting anew.
        let accepting = listener.acceptor.accept();
        tokio::pin!(accepting);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = &mut accepting => {
                    match accepted {
                        Ok(stream) => stream.serve(&mut connections, &api, &shutdown),
                        Err(error) => {
                            tracing::warn!(%error, "a connection could not be accepted");
                            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                        }
                    }
                    accepting.set(listener.acceptor.accept());
                }
            }
        }
    }
    drop(listener);
    let all_done = async {
        api.stop_waiting().await;
        while connections.join_next().await.is_some() {}
    };
    if tokio::time::timeout(grace, all_done).await.is_ok() {
        return Drained { cut: 0 };
    }
    let cut = connections.len();
    connections.shutdown().await;
    Drained { cut }
}

// === impl Address ===

impl Address {
    /// The address that a `--socket` value names: a pipe when it looks like one, else a file.
    pub fn from_socket_argument(value: &str) -> Self {
        let is_pipe = value
            .get(..PIPE_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PIPE_PREFIX));
        if is_pipe {
            Self::Pipe(value.to_owned())
        } else {
            Self::Socket(Path::new(value).to_owned())
        }
    }
}

// === impl Listener ===

impl Listener {
    /// The address as the discovery record tells it: with the real port, reachable from this
    /// machine.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which hosts requests from here may be for.
    pub fn host_policy(&self) -> HostPolicy {
        self.hosts.clone()
    }
}

// === impl Acceptor ===

impl Acceptor {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Small answers must not wait for more bytes; where it cannot be set, they do.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            #[cfg(unix)]
            Self::Unix(bound) => bound.accept().await.map(Stream::Unix),
        }
    }
}

// === impl Stream ===

impl Stream {
    /// Serves the connection on a task of its own.
    fn serve(self, connections: &mut JoinSet<()>, api: &Api, shutdown: &CancellationToken) {
        let (api, shutdown) = (api.clone(), shutdown.clone());
        match self {
            Self::Tcp(stream) => connections.spawn(connection::serve(stream, api, shutdown)),
            #[cfg(unix)]
            Self::Unix(stream) => connections.spawn(connection::serve(stream, api, shutdown)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_told_from_a_file_by_its_prefix() {
        assert_eq!(
            Address::from_socket_argument(r"\\.\PIPE\toolhive-1"),
            Address::Pipe(r"\\.\PIPE\toolhive-1".to_owned())
        );
        for file in ["/tmp/thv.sock", "thv.sock", "é", r"\\.\pip"] {
            assert_eq!(
                Address::from_socket_argument(file),
                Address::Socket(PathBuf::from(file))
            );
        }
    }

    #[cfg(not(windows))]
    #[tokio::test]
    async fn pipes_elsewhere_than_on_windows_are_refused_in_so_many_words() {
        let error = listen(&Address::Pipe(r"\\.\pipe\toolhive-1".to_owned()))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            r"named pipe addresses are only supported on Windows: \\.\pipe\toolhive-1"
        );
    }
}
