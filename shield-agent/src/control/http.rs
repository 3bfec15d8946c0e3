//! One question over the socket: connect, ask, read the answer, hang up.
//!
//! It never asks twice by itself.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

use super::error::{ControlError, Problem};
use crate::daemon::peer;

/// How long an answer may take before the command line gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the API begins.
const API: &str = "/api/v1";

/// The socket, and what it takes to wait for it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) runtime: Runtime,
    path: PathBuf,
}

/// A question.
#[derive(Debug)]
pub(super) struct Ask {
    method: Method,
    path: String,
    body: Vec<u8>,
}

impl Ask {
    pub(super) fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: Vec::new() }
    }

    pub(super) fn post(path: String, body: Vec<u8>) -> Self {
        Self { method: Method::POST, path, body }
    }

    fn into_request(self) -> Request<Full<Bytes>> {
        let request = Request::builder()
            .method(self.method)
            .uri(format!("{API}{}", self.path))
            .header(header::HOST, "shield")
            .header(header::CONTENT_TYPE, "application/json");
        request.body(Full::from(self.body)).expect("paths are made of ids and encoded queries")
    }
}

impl Socket {
    pub(super) fn new(path: PathBuf) -> Result<Self, ControlError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { runtime: runtime.map_err(ControlError::Unprepared)?, path })
    }

    /// Asks for JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, ControlError> {
        serde_json::from_slice(&self.bytes(ask)?).map_err(ControlError::Malformed)
    }

    /// Asks for bytes.
    pub(super) fn bytes(&self, ask: Ask) -> Result<Bytes, ControlError> {
        let answered = async {
            let response = self.answer(ask).await?;
            whole(response).await
        };
        self.runtime
            .block_on(async { timeout(PATIENCE, answered).await.unwrap_or(Err(ControlError::Silent)) })
    }

    /// Asks for something that goes on: only its beginning is waited for.
    pub(super) fn stream(&self, ask: Ask) -> Result<Incoming, ControlError> {
        let begun = async { Ok(self.answer(ask).await?.into_body()) };
        self.runtime.block_on(async { timeout(PATIENCE, begun).await.unwrap_or(Err(ControlError::Silent)) })
    }

    /// The head of a good answer.
    async fn answer(&self, ask: Ask) -> Result<Response<Incoming>, ControlError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ControlError::NotPermitted(self.path.clone(), error),
            _ => ControlError::NotReachable(self.path.clone(), error),
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unanswered)?;
        // Its error is the question's error too.
        self.runtime.spawn(async { drop(connection.await) });
        let response = sender.send_request(ask.into_request()).await.map_err(unanswered)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let problem = Problem::new(status, &whole(response).await?);
        Err(ControlError::Problem(Box::new(problem)))
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ControlError> {
    let collected = response.into_body().collect().await;
    Ok(collected.map_err(|error| ControlError::Broken(error.into()))?.to_bytes())
}

/// The daemon hangs up on whoever may not ask, and says nothing.
fn unanswered(error: hyper::Error) -> ControlError {
    match peer::check_ourselves() {
        Ok(()) => ControlError::Broken(error.into()),
        Err(not_permitted) => ControlError::HungUp(not_permitted),
    }
}
