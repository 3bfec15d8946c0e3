//! The finding about a program that does not trust our certificates: which, and what makes it.

use std::path::Path;

use rustls::AlertDescription;

use crate::finding::{Finding, NOT_TRUSTED, Severity};
use crate::ipc::approver::Distrust;

/// What is found when a program refuses our certificate; `trust` is the directory of the files that make programs trust it.
pub(super) fn finding(distrust: &Distrust, trust: &Path) -> Finding {
    let Distrust { agent, program, name, alert } = distrust;
    let name = name.escape_debug();
    let shown = if program.is_empty() { "a program".to_owned() } else { program.escape_debug().to_string() };
    let what = match alert.map(AlertDescription::from) {
        Some(alert) => {
            format!("{shown} does not trust the gate's certificates: shown one for {name}, it said {alert:?}")
        }
        None => format!(
            "{shown} seems not to trust the gate's certificates: shown one for {name}, it leaves each time without asking \
             anything"
        ),
    };
    let remedy = format!(
        "{}; if it knows its server's certificate by heart, only a rule with `connection` and `tls_name: {name}` lets it \
         pass, unread",
        remedy(program, trust)
    );
    Finding::of(agent, NOT_TRUSTED, Severity::Warning, what, remedy)
}

/// What makes a program trust us. `shield run` sets all of it: who sees this started the program otherwise, or it was told
/// of other roots.
fn remedy(program: &str, trust: &Path) -> String {
    let place = |file| trust.join(file).display().to_string();
    let (bundle, authority) = (place("bundle.pem"), place("ca.pem"));
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-') {
        "node" | "nodejs" | "bun" => format!("start it with NODE_EXTRA_CA_CERTS={authority}"),
        "deno" => format!("start it with DENO_CERT={authority}"),
        "python" | "pypy" => format!(
            "start it with SSL_CERT_FILE={bundle} and REQUESTS_CA_BUNDLE={bundle}, and no `verify=` or `cafile=` of its own"
        ),
        "java" => format!(
            "start it with -Djavax.net.ssl.trustStore={}, and no trust store of its own",
            place("cacerts")
        ),
        "git" | "git-remote-http" | "git-remote-https" => {
            format!("start it with GIT_SSL_CAINFO={bundle}, and no `http.sslCAInfo` in its configuration")
        }
        "curl" => format!("start it with CURL_CA_BUNDLE={bundle}, and without --cacert"),
        "chrome" | "chromium" | "firefox" => format!(
            "add the authority to its own store: certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n agent-shield -i {authority}"
        ),
        _ => format!(
            "start it with SSL_CERT_FILE={bundle}, under shield run, or name that file in its configuration"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_the_programs_own() {
        let remedies = [
            ("/usr/bin/node", "NODE_EXTRA_CA_CERTS="),
            ("/usr/bin/python3.12", "REQUESTS_CA_BUNDLE="),
            ("/usr/lib/jvm/java-21/bin/java", "trustStore="),
            ("/usr/lib/git-core/git-remote-http", "GIT_SSL_CAINFO="),
            ("/opt/agent", "SSL_CERT_FILE="),
            ("", "SSL_CERT_FILE="),
        ];
        for (program, expected) in remedies {
            let told = remedy(program, Path::new("/run/shield/trust"));
            assert!(told.contains(expected) && told.contains("/run/shield/trust/"), "{program}: {told}");
        }
    }

    #[test]
    fn the_path_of_a_program_cannot_pretend() {
        let distrust = Distrust {
            agent: "bot".parse().unwrap(),
            program: "/opt/x\n\u{1b}[2Jall is well".to_owned(),
            name: "api.acme.internal".to_owned(),
            alert: Some(48),
        };
        let what = finding(&distrust, Path::new("/run/shield/trust")).what;
        assert!(what.ends_with("it said UnknownCA"), "{what}");
        assert!(what.starts_with(r"/opt/x\n\u{1b}[2Jall is well does not trust"), "{what}");
    }
}
