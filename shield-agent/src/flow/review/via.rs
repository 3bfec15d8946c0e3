//! The connection a request came over, with everything its exchange needs.

use std::sync::Arc;

use hyper::body::Incoming;

use super::answers::OurAnswer;
use crate::flow::accept::Flow;
use crate::flow::http::body::Intake;
use crate::flow::http::canonical::Scheme;
use crate::flow::http::parse::Channel;
use crate::flow::services::Services;

/// See the module.
pub struct Via {
    /// What every flow uses.
    pub services: Arc<Services>,
    /// The flow.
    pub flow: Flow,
    /// What its requests must agree with.
    pub channel: Channel,
    h2: bool,
}

impl Via {
    /// A connection that speaks HTTP; `name` is its TLS name.
    pub fn new(
        services: Arc<Services>,
        flow: Flow,
        scheme: Scheme,
        name: Option<String>,
        h2: bool,
    ) -> Arc<Self> {
        let channel = Channel { scheme, name, port: flow.original.port() };
        Arc::new(Self { services, flow, channel, h2 })
    }

    /// The body of a request, whole up to the limit when it is `needed` for judging.
    pub async fn take_body(&self, body: Incoming, needed: bool) -> Result<Intake, OurAnswer> {
        // An HTTP/2 client may wait for an answer before it goes on; an HTTP/1.1 client sends.
        let body = Intake::streaming(body, !self.h2).await.map_err(|_broken| OurAnswer::broken_body())?;
        if needed { self.read_whole(body).await } else { Ok(body) }
    }

    /// Reads a body to its end or the limit.
    pub async fn read_whole(&self, body: Intake) -> Result<Intake, OurAnswer> {
        body.read(self.services.max_body).await.map_err(|_broken| OurAnswer::broken_body())
    }
}
