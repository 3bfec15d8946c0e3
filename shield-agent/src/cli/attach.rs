//! `shield attach`: what is to be gated, where it is, and what the gate cannot do by itself.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, code, gates};
use crate::attach::{advice, container, process, unit};
use crate::ipc::gate::{AskError, GateReply, GateRequest, TrustFiles};
use crate::names::AgentName;

/// `shield attach`
#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// Name of the agent
    #[arg(long, value_name = "NAME")]
    agent: AgentName,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Directory of a cgroup
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Systemd service, slice or scope; prints a drop-in that makes a service trust the gate
    #[arg(long, value_name = "UNIT")]
    unit: Option<String>,
    /// Id of a running container, or the beginning of one: Docker, containerd, Podman
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// A process, moved into a gated cgroup with all below it
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// Where it is.
enum Target {
    Cgroup(PathBuf),
    Unit(unit::Unit),
    Container(container::Container),
    Process(u32),
}

/// Gates it, and says what that cannot cover.
pub(super) fn run(config: &Path, args: &AttachArgs) -> Result<u8, Failure> {
    let target = find(&args.what)?;
    match gates::ask(config, &target.request(args.agent.clone()))? {
        GateReply::Attached { caveats, ended, trust } => {
            eprintln!("agent {} is gated", args.agent);
            if ended > 0 {
                eprintln!("connections from before the gate that were ended: {ended}");
            }
            let advice = target.advice(&trust);
            caveats.iter().chain(&advice).for_each(|caveat| eprintln!("not covered: {caveat}"));
            if let Target::Unit(unit) = &target
                && let Some(drop_in) = advice::drop_in(&unit.name, &trust)
            {
                print!("{drop_in}");
            }
            Ok(code::OK)
        }
        other => Err(AskError::unexpected(&other).into()),
    }
}

fn find(what: &What) -> Result<Target, Failure> {
    Ok(match what {
        What { unit: Some(name), .. } => Target::Unit(unit::find(name)?),
        What { container: Some(id), .. } => Target::Container(container::find(id)?),
        What { pid: Some(pid), .. } => Target::Process(process::find(*pid)?),
        What { cgroup, .. } => {
            let cgroup = cgroup.as_deref().expect("the command line takes exactly one of them");
            Target::Cgroup(std::path::absolute(cgroup)?)
        }
    })
}

impl Target {
    fn request(&self, agent: AgentName) -> GateRequest {
        match self {
            Self::Process(pid) => GateRequest::AttachProcess { agent, pid: *pid },
            Self::Cgroup(cgroup)
            | Self::Unit(unit::Unit { cgroup, .. })
            | Self::Container(container::Container { cgroup, .. }) => {
                GateRequest::Attach { agent, cgroup: cgroup.clone() }
            }
        }
    }

    fn advice(&self, trust: &TrustFiles) -> Vec<String> {
        match self {
            Self::Cgroup(_) => advice::of_cgroup(trust),
            Self::Unit(unit) => advice::of_unit(&unit.name),
            Self::Container(container) => advice::of_container(&container.id, trust),
            Self::Process(pid) => advice::of_process(*pid, trust),
        }
    }
}
