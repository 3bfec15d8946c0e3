//! What the supervisor does for each question on the gate socket.

use std::fs::File;

use tokio::sync::oneshot;

use super::Supervisor;
use super::crew::Crew;
use super::gates::{GateError, Made};
use super::roles::RoleError;
use crate::ipc::gate::{GateReply, GateRequest, PreparedRun, TrustFiles};
use crate::ipc::supervisor::ToApproverRole;
use crate::names::AgentName;
use crate::report::Chain;

impl Supervisor {
    /// Answers a question, now or as soon as the worker serves the agent. An error means that the crew is lost.
    pub(super) async fn answer(
        &mut self,
        crew: &mut Crew,
        request: GateRequest,
        asker: u32,
        netns: &File,
        reply: oneshot::Sender<GateReply>,
    ) -> Result<(), RoleError> {
        let answer = match request {
            GateRequest::Run { agent, .. } => match self.prepare_run(&agent, asker, netns) {
                Ok(prepared) => return self.when_served(crew, agent, reply, prepared).await,
                Err(error) => refused(&error),
            },
            GateRequest::Attach { agent, cgroup } => {
                let made = self.gates.attach(&agent, &cgroup);
                return self.when_attached(crew, agent, reply, made).await;
            }
            GateRequest::AttachProcess { agent, pid } => {
                let made = self.gates.attach_process(&agent, pid);
                return self.when_attached(crew, agent, reply, made).await;
            }
            GateRequest::Detach { agent } => match self.gates.detach(&agent) {
                Ok(()) => {
                    crew.remove_gate(&agent).await?;
                    done(format!("agent {agent} is not gated any more"))
                }
                Err(error) => refused(&error),
            },
            GateRequest::Agents => GateReply::Agents { agents: self.gates.list(asker) },
            GateRequest::Freeze { agent } => self.set_frozen(crew, agent, true).await?,
            GateRequest::Thaw { agent } => self.set_frozen(crew, agent, false).await?,
            GateRequest::PolicyReload => self.reload_policy(crew).await?,
        };
        // Whoever asked may have gone.
        let _ = reply.send(answer);
        Ok(())
    }

    /// Reads the policy files again and puts them into force, unless something is wrong with them.
    pub(super) async fn reload_policy(&mut self, crew: &mut Crew) -> Result<GateReply, RoleError> {
        match self.premises.read_policy() {
            Ok(policy) => {
                self.gates.set_networks(self.premises.policy_files.networks());
                crew.set_policy(&policy).await?;
                let files = policy.files.len();
                self.premises.policy = policy;
                tracing::info!(files, "policy in force");
                Ok(done(format!("the policy is in force: {files} files")))
            }
            Err(error) => {
                let reason =
                    format!("the policy in force stays, because the new one is bad: {}", Chain(&error));
                tracing::error!("{reason}");
                crew.tell_approver(ToApproverRole::PolicyTrouble { reason: reason.clone() }).await?;
                Ok(GateReply::Refused { reason })
            }
        }
    }

    fn prepare_run(&mut self, agent: &AgentName, asker: u32, netns: &File) -> Result<GateReply, GateError> {
        let cgroup = self.gates.prepare_run(agent, asker, netns)?;
        let config = &self.premises.config;
        Ok(GateReply::Prepared(PreparedRun {
            cgroup,
            trust: self.trust_files(),
            run_dir: config.run_dir.clone(),
            hide: vec![config.state_dir.clone()],
        }))
    }

    async fn when_attached(
        &mut self,
        crew: &mut Crew,
        agent: AgentName,
        reply: oneshot::Sender<GateReply>,
        made: Result<Made, GateError>,
    ) -> Result<(), RoleError> {
        match made {
            Ok(Made { caveats, ended }) => {
                let answer = GateReply::Attached { caveats, ended, trust: self.trust_files() };
                self.when_served(crew, agent, reply, answer).await
            }
            Err(error) => {
                // Whoever asked may have gone.
                let _ = reply.send(refused(&error));
                Ok(())
            }
        }
    }

    /// Has the worker serve the agent; the answer is given when it does.
    async fn when_served(
        &mut self,
        crew: &mut Crew,
        agent: AgentName,
        reply: oneshot::Sender<GateReply>,
        answer: GateReply,
    ) -> Result<(), RoleError> {
        self.awaiting.insert(agent.clone(), (reply, answer));
        crew.add_gate(&agent, &self.gates.sockets(&agent)).await
    }

    async fn set_frozen(
        &mut self,
        crew: &mut Crew,
        agent: AgentName,
        frozen: bool,
    ) -> Result<GateReply, RoleError> {
        Ok(match self.gates.set_frozen(&agent, frozen) {
            Ok(()) => {
                let what = format!("agent {agent} is {}", if frozen { "stopped" } else { "running" });
                crew.tell_approver(ToApproverRole::Frozen { agent, result: Ok(frozen) }).await?;
                done(what)
            }
            Err(error) => refused(&error),
        })
    }

    fn trust_files(&self) -> TrustFiles {
        self.trust.clone().expect("the signer is ready before the socket is served")
    }
}

fn done(what: String) -> GateReply {
    GateReply::Done { what }
}

fn refused(error: &GateError) -> GateReply {
    GateReply::Refused { reason: Chain(error).to_string() }
}
