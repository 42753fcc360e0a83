//! `millrace-proxy`: reads its options and serves.

use anyhow::{Context as _, bail};
use clap::Parser;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A proxy on 127.0.0.1 in front of the local AWS engine: counts the functions' calls, and disturbs them on request.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Port on 127.0.0.1 to listen on.
    #[arg(long)]
    port: u16,
    /// Where the engine is.
    #[arg(long, value_name = "URL")]
    engine_url: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // The HTTP client wants one, though the engine speaks plain HTTP.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        bail!("the TLS implementation was already chosen");
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, millrace_proxy::router(&options.engine_url)?) => served?,
        _ = stop.recv() => {}
    }
    Ok(())
}
