//! What the place of a process in the hierarchy of cgroups says about it: its id, the container and the systemd unit.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What container engines put before the id of a container.
const ENGINES: [&str; 6] = ["docker-", "cri-containerd-", "crio-", "libpod-", "nerdctl-", "containerd-"];

/// Digits of a container's id.
const ID_DIGITS: usize = 64;

/// The id of a cgroup, as the hooks know it: the number of its directory.
pub(super) fn id(mount: &Path, path: &str) -> Option<u64> {
    let below = path.trim_start_matches('/');
    std::fs::metadata(mount.join(below)).ok().map(|directory| directory.ino())
}

/// Id of the innermost container: `docker-<id>.scope`, or `<id>` alone.
pub(super) fn container(path: &str) -> Option<String> {
    let id = |part: &str| {
        let name = part.strip_suffix(".scope").unwrap_or(part);
        let name = ENGINES.iter().find_map(|engine| name.strip_prefix(engine)).unwrap_or(name);
        let is_id = name.len() == ID_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| name.to_owned())
    };
    path.rsplit('/').find_map(id)
}

/// The innermost unit of systemd's.
pub(super) fn unit(path: &str) -> Option<String> {
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    path.rsplit('/').find(is_unit).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_units_are_found_where_engines_put_them() {
        let id = "0123456789abcdef".repeat(4);
        for (path, container_is, unit_is) in [
            (format!("/system.slice/docker-{id}.scope"), true, Some(format!("docker-{id}.scope"))),
            (format!("/docker/{id}"), true, None),
            (format!("/machine.slice/libpod-{id}.scope/container"), true, Some(format!("libpod-{id}.scope"))),
            (
                format!("/kubepods.slice/kubepods-pod7.slice/cri-containerd-{id}.scope"),
                true,
                Some(format!("cri-containerd-{id}.scope")),
            ),
            (format!("/kubepods/besteffort/pod7/{id}"), true, None),
            ("/system.slice/nginx.service".into(), false, Some("nginx.service".into())),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope".into(),
                false,
                Some("x.scope".into()),
            ),
            ("/agent-shield/default/agents/deploy-bot".into(), false, None),
            (format!("/docker-{}.scope", &id[1..]), false, Some(format!("docker-{}.scope", &id[1..]))),
            ("/".into(), false, None),
        ] {
            assert_eq!(container(&path), container_is.then(|| id.clone()), "{path}");
            assert_eq!(unit(&path), unit_is, "{path}");
        }
    }
}
