//! git over HTTPS: cloning reads, pushing is held.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use shield_tests::origin::git::{IDENTITY, make_repository};
use shield_tests::world::{AGENT_USER, Settings, World, output};

#[test]
fn a_clone_passes_and_a_push_waits_for_a_person() -> Result<()> {
    let world = World::start(Settings::default())?;
    let outcome = clone_and_push(&world);
    outcome.with_context(|| format!("the daemon said:\n{}", world.daemon.log()))
}

#[test]
fn a_push_that_was_approved_after_git_gave_up_is_found_done() -> Result<()> {
    let world = World::start(Settings::default())?;
    let outcome = push_in_a_hurry(&world);
    outcome.with_context(|| format!("the daemon said:\n{}", world.daemon.log()))
}

fn clone_and_push(world: &World) -> Result<()> {
    let work = clone(world, "project")?;
    ensure!(world.origin.ledger.of("GET", "/git/project.git/info/refs").len() == 1, "cloned by other ways");
    let before = head_of(world, "project")?;

    commit(&work)?;
    let pushing = push(world, &work, "denied").spawn()?;
    let hold = world.pending("denied")?;
    world.decide("deny", &hold, "not on a Friday")?;
    ensure!(!pushing.wait_with_output()?.status.success(), "a denied push succeeded");
    ensure!(head_of(world, "project")? == before && pushes(world, "project") == 0, "a denied push arrived");

    // Another commit: a denial is remembered for the same request.
    commit(&work)?;
    let pushing = push(world, &work, "approved").spawn()?;
    let hold = world.pending("approved")?;
    world.decide("approve", &hold, "")?;
    succeeded(&pushing.wait_with_output()?)?;
    ensure!(pushes(world, "project") == 1, "pushed {} times", pushes(world, "project"));
    ensure!(head_of(world, "project")? != before, "an approved push moved nothing");
    Ok(())
}

fn push_in_a_hurry(world: &World) -> Result<()> {
    let work = clone(world, "hurried")?;
    commit(&work)?;
    ensure!(!push(world, &work, "hurried").output()?.status.success(), "a push nobody approved succeeded");
    let hold = world.pending("hurried")?;
    ensure!(pushes(world, "hurried") == 0, "a pending push arrived");
    world.decide("approve", &hold, "")?;
    shield_tests::wait::until("the approved push to arrive", || {
        (pushes(world, "hurried") == 1).then_some(())
    })?;
    succeeded(&push(world, &work, "hurried").output()?)?;
    ensure!(pushes(world, "hurried") == 1, "pushed {} times", pushes(world, "hurried"));
    Ok(())
}

fn clone(world: &World, name: &str) -> Result<std::path::PathBuf> {
    make_repository(&world.origin.repositories, name)?;
    let home = world.dir().join("home");
    std::fs::create_dir(&home)?;
    output(Command::new("chown").arg(AGENT_USER).arg(&home))?;
    let work = home.join(name);
    let url = format!("https://git.acme.internal/git/{name}.git");
    let words = ["git", "clone", "--quiet", &url, work.to_str().context("a path of ASCII")?];
    succeeded(&world.agent("reader", &words).envs(IDENTITY).output()?)?;
    Ok(work)
}

fn commit(work: &Path) -> Result<()> {
    let mut git = git_in(work);
    git.args(["commit", "--quiet", "--allow-empty", "--message", "Change what is deployed"]);
    output(&mut git).map(|_| ())
}

fn push(world: &World, work: &Path, agent: &str) -> Command {
    let mut push = world.agent(agent, &["git", "push", "--quiet", "origin", "HEAD:main"]);
    push.current_dir(work).envs(IDENTITY).stderr(std::process::Stdio::piped());
    push
}

/// git as the user who cloned, outside the gate: it talks to nobody.
fn git_in(work: &Path) -> Command {
    let mut git = Command::new("git");
    git.envs(IDENTITY).arg("-c").arg("safe.directory=*").arg("-C").arg(work);
    git
}

fn head_of(world: &World, name: &str) -> Result<String> {
    let bare = world.origin.repositories.join(format!("{name}.git"));
    let head = output(git_in(&bare).args(["rev-parse", "refs/heads/main"]))?;
    Ok(String::from_utf8(head.stdout)?)
}

fn pushes(world: &World, name: &str) -> usize {
    world.origin.ledger.of("POST", &format!("/git/{name}.git/git-receive-pack")).len()
}

fn succeeded(output: &Output) -> Result<()> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", output.status, words.trim());
    Ok(())
}
