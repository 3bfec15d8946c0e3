//! What every flow of a worker uses.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::TcpStream;

use crate::dns;
use crate::flow::accept::forbidden::Forbidden;
use crate::flow::accept::programs::Programs;
use crate::flow::decrypt::Limits;
use crate::flow::decrypt::leaf::Leaves;
use crate::flow::decrypt::signer::Signer;
use crate::flow::judge::Judge;
use crate::flow::review::approver::Approver;
use crate::flow::review::websocket::Waiting;
use crate::flow::upstream::{Upstream, trust};
use crate::ipc::worker::WorkerConfig;

/// See the module.
pub struct Services {
    /// The running policy; nothing passes while there is none.
    pub policy: ArcSwapOption<Box<dyn Judge>>,
    /// Certificates towards agents.
    pub leaves: Leaves,
    /// The journal, and the holds.
    pub approver: Arc<Approver>,
    /// Connections that wait for an approved WebSocket.
    pub websockets: Arc<Waiting>,
    /// The way out.
    pub upstream: Upstream,
    /// Which programs processes run.
    pub programs: Programs,
    /// Where nothing goes.
    pub forbidden: Arc<Forbidden>,
    /// The agents' resolver.
    pub resolver: Arc<dns::Forwarder>,
    /// `hold.wait`.
    pub hold_wait: Duration,
    /// `hold.max_body`.
    pub max_body: u64,
    /// How long a flow may take to say what it is.
    pub limits: Limits,
}

impl Services {
    /// Services for a configuration.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        config: WorkerConfig,
        approver: Arc<Approver>,
        signer: Signer,
        programs: Programs,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let forbidden = Arc::new(Forbidden::default());
        forbidden.add(&config.own_addresses);
        let tls = Arc::new(trust::client_config(&config.upstream_roots, Arc::clone(&provider))?);
        Ok(Self {
            policy: ArcSwapOption::empty(),
            leaves: Leaves::new(signer, config.ca_certificate, provider)?,
            approver,
            websockets: Arc::default(),
            upstream: Upstream::new(tls, Arc::clone(&forbidden), config.connect_timeout),
            programs,
            forbidden,
            resolver: Arc::new(dns::Forwarder::new(config.resolvers)),
            hold_wait: config.hold_wait,
            max_body: config.max_body,
            limits: Limits::default(),
        })
    }
}

/// Answers an agent's DNS questions over TCP.
pub async fn answer_dns(services: &Services, socket: TcpStream) {
    if let Err(error) = dns::serve_tcp(socket, &services.resolver).await {
        tracing::debug!(%error, "a DNS connection ended early");
    }
}
