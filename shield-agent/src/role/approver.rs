//! The approver's process: store, engine, console, control socket and the worker's channel, put together.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Belongings, RoleEnd, stream};
use crate::approval::channel;
use crate::approval::engine::{Clock, Engine, Setup};
use crate::approval::mask;
use crate::console;
use crate::flow::policy::Policy;
use crate::ipc::approver::FromApprover;
use crate::ipc::fds;
use crate::ipc::frame::FrameError;
use crate::ipc::supervisor::{ApproverConfig, Duty, FromApproverRole, ToApproverRole};
use crate::ipc::worker::PolicyText;
use crate::launch::TRUST_DIRECTORY;
use crate::report::Chain;
use crate::store::{Place, Store, StoreError};

/// Keeps holds, decisions and the journal until it was drained or the supervisor is gone.
pub(super) async fn run(belongings: Belongings) -> Result<(), RoleEnd> {
    let Belongings { supervisor, duty: Duty::Approve(config), descriptors } = belongings else {
        return Err(RoleEnd::WrongDuty);
    };
    // The lock is kept open: while this process lives, no other daemon writes the store.
    let [worker, console, control, _lock] =
        <[OwnedFd; 4]>::try_from(descriptors).map_err(|_| RoleEnd::WrongDuty)?;
    let supervisor = Arc::new(stream(supervisor.into())?);
    let (to_supervisor, reports) = mpsc::unbounded_channel();
    let reporter = tokio::spawn(report(Arc::clone(&supervisor), reports));
    let (to_worker, said) = mpsc::unbounded_channel();

    let engine = open(&config, to_worker, to_supervisor.clone()).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(channel::serve(engine.clone(), stream(worker)?, said));
    tasks.spawn(engine.clone().keep_time());
    let stop = CancellationToken::new();
    let doors = open_doors(&engine, &config, console.into(), control.into(), &stop)?;
    // A reporter that is gone means that the supervisor is: then the next reading says so.
    let _ = to_supervisor.send(FromApproverRole::Ready);

    let drained = obey(&engine, &supervisor).await;
    stop.cancel();
    doors.join_all().await;
    if drained? {
        flush(&engine).await;
        let _ = to_supervisor.send(FromApproverRole::Drained);
        // Ends when the word was said.
        let _ = reporter.await;
    }
    Ok(())
}

/// Opens the store and brings what an earlier process left to its right end.
async fn open(
    config: &ApproverConfig,
    to_worker: mpsc::UnboundedSender<FromApprover>,
    to_supervisor: mpsc::UnboundedSender<FromApproverRole>,
) -> Result<Engine, RoleEnd> {
    mask::also_mask(&config.config.mask);
    let place = Place::from_url(&config.config.store_url).map_err(RoleEnd::work)?;
    let store = Store::open(place).await.map_err(RoleEnd::work)?;
    let policy = Policy::compile(&config.policy.files).map_err(RoleEnd::work)?;
    let hold = config.config.hold.clone();
    let trust = config.config.run_dir.join(TRUST_DIRECTORY);
    let engine =
        Engine::new(Setup { store, hold, policy, trust, clock: Clock::real(), to_worker, to_supervisor });
    engine.recover().await.map_err(RoleEnd::work)?;
    engine.record_policy(&config.policy).await.map_err(RoleEnd::work)?;
    Ok(engine)
}

/// Serves reviewers: the console's address and the local socket.
fn open_doors(
    engine: &Engine,
    config: &ApproverConfig,
    console: TcpListener,
    control: UnixListener,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, RoleEnd> {
    let (site, tls) = (&config.config.console, config.tls.as_ref());
    let mut doors = JoinSet::new();
    doors.spawn(console::serve(engine.clone(), site, tls, console, stop.clone()).map_err(RoleEnd::work)?);
    doors.spawn(console::serve_control(engine.clone(), site, control, stop.clone()).map_err(RoleEnd::work)?);
    Ok(doors)
}

/// Does what the supervisor says until it says that this is the end (`true`) or is gone.
async fn obey(engine: &Engine, supervisor: &UnixStream) -> Result<bool, RoleEnd> {
    loop {
        let message = match fds::receive(supervisor).await {
            Ok((message, _)) => message,
            Err(FrameError::Closed) => return Ok(false),
            Err(error) => return Err(RoleEnd::work(error)),
        };
        let done = match message {
            ToApproverRole::Policy(text) => set_policy(engine, &text).await,
            ToApproverRole::PolicyTrouble { reason } => {
                engine.set_policy_trouble(Some(reason));
                Ok(())
            }
            ToApproverRole::AgentAttached { agent } => engine.attached(&agent).await,
            ToApproverRole::AgentDetached { agent } => engine.detached(&agent).await,
            ToApproverRole::Attempts { agent, attempts } => engine.attempted(&agent, attempts).await,
            ToApproverRole::Counters { agent, counts } => {
                engine.counted(&agent, &counts);
                Ok(())
            }
            ToApproverRole::Frozen { agent, result } => engine.frozen(&agent, result).await,
            ToApproverRole::Finding { finding, stopped } => engine.found(finding, stopped).await,
            ToApproverRole::Drain => return Ok(true),
        };
        if let Err(error) = done {
            tracing::error!("what the supervisor said could not be recorded: {}", Chain(&error));
        }
    }
}

async fn set_policy(engine: &Engine, text: &PolicyText) -> Result<(), StoreError> {
    match Policy::compile(&text.files) {
        Ok(policy) => engine.set_policy(policy, text).await,
        Err(mistakes) => {
            tracing::error!("the approver keeps its policy: {mistakes}");
            engine.set_policy_trouble(Some(mistakes.to_string()));
            Ok(())
        }
    }
}

/// Returns when everything that was asked for is durable.
async fn flush(engine: &Engine) {
    if let Err(error) = engine.store().run(|_| Box::pin(async { Ok(()) })).await {
        tracing::error!("the last records may not be durable: {}", Chain(&error));
    }
}

/// Says things to the supervisor, one after the other; `Drained` is the last.
async fn report(supervisor: Arc<UnixStream>, mut reports: mpsc::UnboundedReceiver<FromApproverRole>) {
    while let Some(message) = reports.recv().await {
        let last = matches!(message, FromApproverRole::Drained);
        if fds::send(&supervisor, &message, &[]).await.is_err() || last {
            return;
        }
    }
}
