//! git over HTTPS: cloning reads, pushing is held.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use shield_tests::deployment::{AGENT_USER, Deployment, Settings, output};
use shield_tests::origin::git::{IDENTITY, make_repository};

#[test]
fn a_clone_passes_and_a_push_waits_for_a_person() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let outcome = clone_and_push(&deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

#[test]
fn a_push_that_was_approved_after_git_gave_up_is_found_done() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let outcome = push_in_a_hurry(&deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn clone_and_push(deployment: &Deployment) -> Result<()> {
    let work = clone(deployment, "project")?;
    ensure!(
        deployment.origin.ledger.of("GET", "/git/project.git/info/refs").len() == 1,
        "cloned by other ways"
    );
    let before = head_of(deployment, "project")?;

    commit(&work)?;
    let pushing = push(deployment, &work, "denied").spawn()?;
    let hold = deployment.pending("denied")?;
    deployment.decide("deny", &hold, "not on a Friday")?;
    ensure!(!pushing.wait_with_output()?.status.success(), "a denied push succeeded");
    ensure!(
        head_of(deployment, "project")? == before && pushes(deployment, "project") == 0,
        "a denied push arrived"
    );

    // Another commit: a denial is remembered for the same request.
    commit(&work)?;
    let pushing = push(deployment, &work, "approved").spawn()?;
    let hold = deployment.pending("approved")?;
    deployment.decide("approve", &hold, "")?;
    succeeded(&pushing.wait_with_output()?)?;
    ensure!(pushes(deployment, "project") == 1, "pushed {} times", pushes(deployment, "project"));
    ensure!(head_of(deployment, "project")? != before, "an approved push moved nothing");
    Ok(())
}

fn push_in_a_hurry(deployment: &Deployment) -> Result<()> {
    let work = clone(deployment, "hurried")?;
    commit(&work)?;
    ensure!(
        !push(deployment, &work, "hurried").output()?.status.success(),
        "a push nobody approved succeeded"
    );
    let hold = deployment.pending("hurried")?;
    ensure!(pushes(deployment, "hurried") == 0, "a pending push arrived");
    deployment.decide("approve", &hold, "")?;
    shield_tests::wait::until("the approved push to arrive", || {
        (pushes(deployment, "hurried") == 1).then_some(())
    })?;
    succeeded(&push(deployment, &work, "hurried").output()?)?;
    ensure!(pushes(deployment, "hurried") == 1, "pushed {} times", pushes(deployment, "hurried"));
    Ok(())
}

fn clone(deployment: &Deployment, name: &str) -> Result<std::path::PathBuf> {
    make_repository(&deployment.origin.repositories, name)?;
    let home = deployment.dir().join("home");
    std::fs::create_dir(&home)?;
    output(Command::new("chown").arg(AGENT_USER).arg(&home))?;
    let work = home.join(name);
    let url = format!("https://git.acme.internal/git/{name}.git");
    let words = ["git", "clone", "--quiet", &url, work.to_str().context("a path of ASCII")?];
    succeeded(&deployment.agent("reader", &words).envs(IDENTITY).output()?)?;
    Ok(work)
}

fn commit(work: &Path) -> Result<()> {
    let mut git = git_in(work);
    git.args(["commit", "--quiet", "--allow-empty", "--message", "Change what is deployed"]);
    output(&mut git).map(|_| ())
}

fn push(deployment: &Deployment, work: &Path, agent: &str) -> Command {
    let mut push = deployment.agent(agent, &["git", "push", "--quiet", "origin", "HEAD:main"]);
    push.current_dir(work).envs(IDENTITY).stderr(std::process::Stdio::piped());
    push
}

/// git as the user who cloned, outside the gate: it talks to nobody.
fn git_in(work: &Path) -> Command {
    let mut git = Command::new("git");
    git.envs(IDENTITY).arg("-c").arg("safe.directory=*").arg("-C").arg(work);
    git
}

fn head_of(deployment: &Deployment, name: &str) -> Result<String> {
    let bare = deployment.origin.repositories.join(format!("{name}.git"));
    let head = output(git_in(&bare).args(["rev-parse", "refs/heads/main"]))?;
    Ok(String::from_utf8(head.stdout)?)
}

fn pushes(deployment: &Deployment, name: &str) -> usize {
    deployment.origin.ledger.of("POST", &format!("/git/{name}.git/git-receive-pack")).len()
}

fn succeeded(output: &Output) -> Result<()> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", output.status, words.trim());
    Ok(())
}
