//! Under which names the pages are served.
//!
//! Whatever listens on 127.0.0.1 can be asked by the pages that somebody on this machine has open in a browser, and their
//! owner may have a name of his own point there (DNS rebinding): to the browser the answers are then his. But such a request
//! says the name that it was made for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The part of a foreign name that is repeated.
const REPEATED: usize = 100;

/// The names that are answered to; any when there are none.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Option<Arc<[String]>>);

impl Hosts {
    /// Those of a listener at this address, and others that lead to it.
    pub(super) fn of(address: SocketAddr, allowed: &[String]) -> Self {
        Self(is_here(address.ip()).then(|| allowed.into()))
    }

    /// A name in a request that is none of ours.
    fn foreign(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let allowed = self.0.as_ref()?;
        let in_headers =
            headers.get_all(header::HOST).iter().map(|host| String::from_utf8_lossy(host.as_bytes()));
        let in_uri = uri.authority().map(|authority| authority.as_str().into());
        // Browsers always send a host; who sends none is no browser.
        in_headers
            .chain(in_uri)
            .find(|host| !host.is_empty() && !is_ours(host, allowed))
            .map(|host| host.chars().take(REPEATED).collect())
    }
}

/// Whether only this machine gets there.
pub(super) fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether it is a name of this machine for itself, or one of these; with any port, since tunnels and forwarded ports have
/// their own.
fn is_ours(host: &str, allowed: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return is_here(address) || allowed.iter().any(|allowed| allowed == bare);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || allowed.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
}

/// Answers requests under our own names only.
pub(super) async fn ours_only(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let Some(foreign) = hosts.foreign(request.uri(), request.headers()) else {
        return next.run(request).await;
    };
    let text = format!(
        "Refused: this listener is for its own machine, and {foreign} is no name of it. Ask for it as localhost, 127.0.0.1 or \
         [::1]; where a proxy passes on the name that it was asked for, allow that name with --allow-host.\n"
    );
    (StatusCode::MISDIRECTED_REQUEST, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
        .into_response()
}

/// Refuses what is no name of a host, or has a port.
///
/// # Errors
/// When it is none, in words.
pub fn host(text: &str) -> Result<String, &'static str> {
    let fault = "the name of a host is due, without a port: metrics.example";
    match text.parse::<Authority>() {
        Ok(authority) if authority.host() == text && !text.starts_with('[') => Ok(text.to_owned()),
        // An address of version 6, as it stands in a URL or without its brackets.
        _ => {
            let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
            bare.parse::<IpAddr>().map(|address| address.to_string()).map_err(|_| fault)
        }
    }
}
