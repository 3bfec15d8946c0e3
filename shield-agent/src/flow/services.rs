//! What every flow of a worker uses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use tokio::net::TcpStream;

use crate::dns;
use crate::flow::accept::callers::Callers;
use crate::flow::accept::forbidden::Forbidden;
use crate::flow::decrypt::leaf::Leaves;
use crate::flow::decrypt::signer::Signer;
use crate::flow::limits::Limits;
use crate::flow::plain::Places;
use crate::flow::review::approver::Approver;
use crate::flow::review::unasked::Unasked;
use crate::flow::review::websocket::Waiting;
use crate::flow::upstream::Upstream;
use crate::flow::upstream::trust::Trust;
use crate::flow::upstream::ways::Ways;
use crate::ipc::worker::WorkerConfig;
use crate::names::AgentName;

/// How often it is looked whether refused questions are to be recorded.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub struct Services {
    /// The running policy; nothing passes while there is none.
    pub policy: dns::Policy,
    /// Certificates towards agents.
    pub leaves: Leaves,
    /// The journal, and the holds.
    pub approver: Arc<Approver>,
    /// Connections that wait for an approved WebSocket.
    pub websockets: Arc<Waiting>,
    /// Programs that leave without asking anything.
    pub unasked: Unasked,
    /// The way out.
    pub upstream: Upstream,
    /// Who makes connections.
    pub callers: Callers,
    /// Where nothing goes.
    pub forbidden: Arc<Forbidden>,
    /// Where hosts are that no name leads to.
    pub places: Places,
    /// The agents' resolver.
    pub resolver: Arc<dns::Resolver>,
    /// `hold.wait`.
    pub hold_wait: Duration,
    /// `hold.max_body`.
    pub max_body: u64,
    /// How much agents may ask for.
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
        callers: Callers,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(provider());
        let forbidden = Arc::new(Forbidden::default());
        forbidden.add(&config.own_addresses);
        let trust = Trust::new(&config.upstream_roots, &config.upstream_hosts, &provider)?;
        let policy = dns::Policy::default();
        let resolver = Arc::new(dns::Resolver::new(config.resolvers, config.names, Arc::clone(&policy)));
        let ways = Ways::new(Arc::clone(&resolver), Arc::clone(&forbidden));
        tokio::spawn(record_refused_names(Arc::clone(&resolver), Arc::clone(&approver)));
        Ok(Self {
            policy,
            leaves: Leaves::new(signer, config.ca_certificate, provider)?,
            approver,
            websockets: Arc::default(),
            unasked: Unasked::default(),
            upstream: Upstream::new(trust, ways, Arc::clone(&forbidden), config.connect_timeout),
            callers,
            forbidden,
            places: Places::new(&config.upstream_hosts),
            resolver,
            hold_wait: config.hold_wait,
            max_body: config.max_body,
            limits: config.limits,
        })
    }
}

/// Cryptography for both sides. AES-128 comes first: nobody breaks it, and processors do the SHA-256 that belongs to it,
/// but not the SHA-384 of AES-256, which is a good part of what a handshake costs.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// Answers an agent's DNS questions over TCP.
pub async fn answer_dns(services: &Services, agent: &AgentName, socket: TcpStream) {
    if let Err(error) = dns::serve_tcp(socket, &services.resolver.asker(agent)).await {
        tracing::debug!(%error, "a DNS connection ended early");
    }
}

/// Records which names were refused, as long as the worker lives.
async fn record_refused_names(resolver: Arc<dns::Resolver>, approver: Arc<Approver>) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        for record in resolver.due(Instant::now()) {
            let (agent, parent, questions) = (record.agent.clone(), record.parent.clone(), record.questions);
            tracing::info!(%agent, parent, questions, why = record.judgement.why, "names were refused");
            // Nothing left this host: a journal that stands still does not change that.
            if let Err(error) = approver.recorder.note_names(record).await {
                tracing::warn!(%agent, parent, questions, %error, "a refusal could not be recorded");
            }
        }
    }
}
