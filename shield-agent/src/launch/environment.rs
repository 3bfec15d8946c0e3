//! The agent's environment: which variable makes which program trust which file.
//!
//! Variables that *replace* a program's roots get the merged bundle, those that *add* get our CA alone: a bundle of one
//! CA would break every program that reaches something the gate does not terminate.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::trust::Trusted;
use super::user::Account;
use crate::ipc::gate::TrustFiles;

/// Variables whose file replaces the program's roots.
pub(super) const REPLACING: &[&str] = &[
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "npm_config_cafile",
    "NPM_CONFIG_CAFILE",
    "BUNDLE_SSL_CA_CERT",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CODEX_CA_CERTIFICATE",
    "NIX_SSL_CERT_FILE",
];

/// Variables whose file is added to the program's roots.
pub(super) const ADDING: &[&str] = &["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// A directory of roots; folded into the bundle and unset, because a directory would win over it.
pub(super) const ROOTS_DIRECTORY: &str = "SSL_CERT_DIR";

/// Programs that look at the system's roots only when told to.
const SYSTEM_ROOTS: &[(&str, &str)] = &[("NODE_USE_SYSTEM_CA", "1"), ("DENO_TLS_CA_STORE", "system,mozilla")];

const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// The command's environment: ours over the caller's, explicit wishes over both. With an account it is that user's.
pub(super) fn build(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    account: Option<&Account>,
    trusted: &Trusted,
    wishes: &[(String, String)],
) -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<OsString, OsString> = inherited.into_iter().collect();
    env.remove(OsStr::new(ROOTS_DIRECTORY));
    if let Some(account) = account {
        for sudo in ["SUDO_COMMAND", "SUDO_USER", "SUDO_UID", "SUDO_GID"] {
            env.remove(OsStr::new(sudo));
        }
        env.insert("HOME".into(), account.home.clone().into());
        env.insert("USER".into(), account.name.clone().into());
        env.insert("LOGNAME".into(), account.name.clone().into());
    }
    set_trust(&mut env, &trusted.bundle, &trusted.ca, trusted.java.as_deref());
    env.extend(wishes.iter().map(|(name, value)| (name.into(), value.into())));
    env
}

/// The variables alone, for programs that `shield run` does not start.
pub fn trust_variables(trust: &TrustFiles) -> Vec<(String, String)> {
    let mut env = BTreeMap::new();
    set_trust(&mut env, &trust.bundle, &trust.ca, trust.java.as_deref());
    let text = |word: OsString| word.to_string_lossy().into_owned();
    env.into_iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn set_trust(env: &mut BTreeMap<OsString, OsString>, bundle: &Path, ca: &Path, java: Option<&Path>) {
    let mut set = |name: &str, value: &OsStr| env.insert(name.into(), value.into());
    REPLACING.iter().for_each(|name| drop(set(name, bundle.as_os_str())));
    ADDING.iter().for_each(|name| drop(set(name, ca.as_os_str())));
    SYSTEM_ROOTS.iter().for_each(|(name, value)| drop(set(name, value.as_ref())));
    if let Some(store) = java {
        let options = java_options(env.get(OsStr::new(JAVA_OPTIONS)), store);
        env.insert(JAVA_OPTIONS.into(), options);
    }
}

/// Adds to the options the caller had. The password is the one every Java trust store has; it protects nothing.
fn java_options(before: Option<&OsString>, store: &Path) -> OsString {
    let mut options = before.cloned().unwrap_or_default();
    if !options.is_empty() {
        options.push(" ");
    }
    options.push("-Djavax.net.ssl.trustStore=");
    options.push(store);
    options.push(" -Djavax.net.ssl.trustStorePassword=changeit");
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(inherited: &[(&str, &str)], wishes: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        let account = Account { name: "ann".into(), home: "/home/ann".into() };
        let trusted = Trusted {
            bundle: "/run/shield/trust/bundle.pem".into(),
            ca: "/run/shield/trust/ca.pem".into(),
            java: Some("/run/shield/trust/java".into()),
            nothing: "/run/shield/trust/nothing".into(),
        };
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let inherited = owned(inherited).into_iter().map(|(name, value)| (name.into(), value.into()));
        build(inherited, Some(&account), &trusted, &owned(wishes))
    }

    #[test]
    fn replacing_variables_get_the_bundle_and_adding_ones_our_ca_alone() {
        let env = built(&[("SSL_CERT_DIR", "/etc/ssl/certs"), ("TERM", "xterm")], &[]);
        let get = |name: &str| env.get(OsStr::new(name)).map(|value| value.to_str().unwrap());
        assert_eq!(get("GIT_SSL_CAINFO"), Some("/run/shield/trust/bundle.pem"));
        assert_eq!(get("NODE_EXTRA_CA_CERTS"), Some("/run/shield/trust/ca.pem"));
        assert_eq!((get("SSL_CERT_DIR"), get("TERM"), get("HOME")), (None, Some("xterm"), Some("/home/ann")));
    }

    #[test]
    fn java_keeps_the_options_it_had_and_wishes_win() {
        let env = built(&[("JAVA_TOOL_OPTIONS", "-Xmx1g")], &[("HOME", "/elsewhere")]);
        let options = env[OsStr::new("JAVA_TOOL_OPTIONS")].to_str().unwrap();
        assert!(
            options.starts_with("-Xmx1g -Djavax.net.ssl.trustStore=/run/shield/trust/java "),
            "{options}"
        );
        assert_eq!(env[OsStr::new("HOME")], "/elsewhere");
    }
}
