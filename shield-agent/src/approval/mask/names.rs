//! Names whose values are secrets: those everybody knows, and those this installation adds.

use std::collections::HashSet;
use std::sync::OnceLock;

/// Names that are secret wherever they occur inside a longer one, written without separators.
const INSIDE: [&str; 20] = [
    "accesskey",
    "accountkey",
    "apikey",
    "authkey",
    "clientassertion",
    "credentials",
    "encryptionkey",
    "masterkey",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secretkey",
    "sessionid",
    "sessionkey",
    "sharedkey",
    "signingkey",
    "subscriptionkey",
    "webhooksecret",
];

/// Words that make a name secret when they end it: `refresh_token` is one, `token_count` and `SecretId` are not.
const LAST: [&str; 15] = [
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "cvc",
    "cvv",
    "jwt",
    "otp",
    "pwd",
    "secret",
    "sid",
    "sig",
    "signature",
    "token",
];

/// Names of this installation, without separators. Set once, before anything is masked.
static OWN: OnceLock<HashSet<String>> = OnceLock::new();

/// Takes `mask:` of the configuration; later calls change nothing.
pub fn also_mask(names: &[String]) {
    // Another engine of the same process came first.
    let _ = OWN.set(names.iter().map(|name| words(name).concat()).collect());
}

/// Whether the value of a field, parameter or member by this name is a secret.
pub fn is_secret_name(name: &str) -> bool {
    is_secret(name, OWN.get())
}

fn is_secret(name: &str, own: Option<&HashSet<String>>) -> bool {
    let words = words(name);
    let joined = words.concat();
    if own.is_some_and(|own| own.contains(&joined)) {
        return true;
    }
    let last = words.iter().rfind(|word| !word.bytes().all(|c| c.is_ascii_digit()));
    INSIDE.iter().any(|inside| joined.contains(inside))
        || last.is_some_and(|last| LAST.contains(&last.as_str()))
}

/// `X-Api-Key`, `apiKey` and `API_KEY` are all `api`, `key`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        let begins = !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && lower);
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_lowercase());
        }
        lower = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_adds_names_however_they_are_written() {
        let own = HashSet::from(["acmepin".to_owned()]);
        for name in ["acme-pin", "X_ACME_PIN", "acmePin"] {
            assert_eq!(is_secret(name, Some(&own)), !name.starts_with('X'), "{name}");
            assert!(!is_secret(name, None), "{name}");
        }
    }

    #[test]
    fn what_names_a_secret_is_told_from_what_only_mentions_one() {
        let secret = [
            "password",
            "user_password",
            "PASSWD",
            "client_secret",
            "clientSecret",
            "X-Api-Key",
            "apikey",
            "api_key",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "sig",
            "access_token",
            "refreshToken",
            "token",
            "private-token",
            "X-Vault-Token",
            "authorization",
            "auth",
            "aws_secret_access_key",
            "cvv",
            "connect.sid",
            "JSESSIONID",
            "id_token_1",
        ];
        for name in secret {
            assert!(is_secret_name(name), "{name}");
        }
        let shown = [
            "author",
            "max_tokens",
            "token_count",
            "SecretId",
            "secretName",
            "key",
            "id",
            "session",
            "",
            "email",
        ];
        for name in shown {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
