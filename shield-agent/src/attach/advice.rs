//! What a gate that comes after its processes cannot do by itself, and how to do it: make them trust the certificates
//! the gate shows, and keep the gate when they start again.

use std::fmt::Write as _;

use crate::ipc::gate::TrustFiles;
use crate::launch::trust_variables;

/// Where the drop-in of a unit belongs.
pub fn drop_in_path(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}.d/50-agent-shield.conf")
}

/// A drop-in that has a service trust the gate; empty for what is no service, since slices and scopes start nothing.
pub fn drop_in(unit: &str, trust: &TrustFiles) -> Option<String> {
    if !unit.ends_with(".service") {
        return None;
    }
    let mut text = String::from("[Service]\n");
    for (name, value) in trust_variables(trust) {
        // A percent sign would begin a specifier, a quote end the value.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
        let _ = writeln!(text, "Environment=\"{name}={value}\"");
    }
    // A directory of roots would win over the bundle.
    text.push_str("UnsetEnvironment=SSL_CERT_DIR\n");
    Some(text)
}

/// What a unit's gate does not promise.
pub fn of_unit(unit: &str) -> Vec<String> {
    let mut advice = Vec::new();
    if unit.ends_with(".service") {
        advice.push(format!(
            "put the lines on standard output into {} and restart {unit}: programs inside then trust the gate",
            drop_in_path(unit)
        ));
    } else {
        advice.push(format!(
            "programs in {unit} must be made to trust the gate, each service by a drop-in: `shield attach` prints it \
             when it is asked for a service"
        ));
    }
    if !unit.ends_with(".slice") {
        advice.push(format!(
            "systemd removes the cgroup of {unit} when it stops, and the gate with it: what is started then is not \
             gated. To be gated across restarts it must be in a slice (Slice=NAME.slice), and the slice be attached"
        ));
    }
    advice
}

/// What a container's gate does not promise, and how its next start would.
pub fn of_container(id: &str, trust: &TrustFiles) -> Vec<String> {
    let directory = trust.bundle.parent().unwrap_or(&trust.bundle).display();
    let mut flags = format!("--volume {directory}:{directory}:ro");
    for (name, value) in trust_variables(trust) {
        let _ = write!(flags, " --env '{name}={value}'");
    }
    let short = &id[..12];
    vec![
        format!("programs inside must be made to trust the gate: start the container anew with {flags}"),
        format!(
            "the engine removes the cgroup of {short} when the container ends, and the gate with it: what is started \
             then is not gated. To be gated from its first packet it must start inside an attached cgroup \
             (--cgroup-parent)"
        ),
    ]
}

/// What the gate of a cgroup does not promise.
pub fn of_cgroup(trust: &TrustFiles) -> Vec<String> {
    let variables = trust_variables(trust);
    let set: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    vec![format!("programs inside must be made to trust the gate: start them with {}", set.join(" "))]
}

/// What the gate of a process does not promise.
pub fn of_process(pid: u32, trust: &TrustFiles) -> Vec<String> {
    vec![
        format!(
            "process {pid} cannot be made to trust the gate any more, so its TLS will fail where it checks \
             certificates: start it anew, under `shield run` or with SSL_CERT_FILE={}",
            trust.bundle.display()
        ),
        "sockets it has made and not connected, and its listeners, were made before the gate and pass by it; so do \
         sockets that others hand to it"
            .to_owned(),
        "it keeps every right it had, since neither seccomp nor Landlock is put on it: a process of root can leave the gate"
            .to_owned(),
        "only the process and its children are gated: not those that it left behind, and not those it asks others to \
         start"
            .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust() -> TrustFiles {
        let file = |name: &str| format!("/run/shield/trust/{name}").into();
        TrustFiles { ca: file("ca.pem"), bundle: file("bundle.pem"), java: Some(file("cacerts")) }
    }

    #[test]
    fn a_services_drop_in_sets_what_shield_run_sets() {
        let text = drop_in("cleanup.service", &trust()).unwrap();
        for line in [
            "[Service]",
            "Environment=\"SSL_CERT_FILE=/run/shield/trust/bundle.pem\"",
            "Environment=\"NODE_EXTRA_CA_CERTS=/run/shield/trust/ca.pem\"",
            "Environment=\"NODE_USE_SYSTEM_CA=1\"",
            "UnsetEnvironment=SSL_CERT_DIR",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.contains("JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=/run/shield/trust/cacerts"));
        assert_eq!(drop_in("agents.slice", &trust()), None);
    }

    #[test]
    fn a_container_is_given_the_directory_and_the_variables() {
        let advice = of_container(&"a".repeat(64), &trust()).join("\n");
        assert!(advice.contains("--volume /run/shield/trust:/run/shield/trust:ro"), "{advice}");
        assert!(advice.contains("--env 'SSL_CERT_FILE=/run/shield/trust/bundle.pem'"), "{advice}");
    }
}
