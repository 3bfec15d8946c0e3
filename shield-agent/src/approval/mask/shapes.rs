//! Secrets told by their shape, wherever they are.

use std::sync::LazyLock;

use regex::{Captures, Regex, RegexSet};

use super::{MASK, is_secret_name};

static KEY_BLOCK: LazyLock<Regex> = LazyLock::new(|| {
    expression(r"(?s)(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----).*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)")
});

/// Tokens whose issuers gave them a recognisable beginning.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(?x-u) \b(?:
            gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{20,} | glpat-[\w-]{16,}     # source hosting
          | [sr]k_(?:live|test)_\w{8,} | whsec_\w{16,}                            # payments
          | sk-[A-Za-z0-9_-]{20,} | hf_\w{20,} | AIza[\w-]{30,} | ya29\.[\w.-]{10,} # models and clouds
          | A(?:KIA|SIA)[0-9A-Z]{16} | dop_v1_\w{20,} | npm_\w{20,} | pypi-[\w-]{20,}
          | xox[abeprs]-[\w-]{10,} | SG\.[\w-]{16,}\.[\w-]{16,} | (?:bot)?\d{8,10}:[\w-]{35} # messages
          | eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*                                      # signed JSON tokens
        )",
    )
});

static IN_URL: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@'\x22]*):[^@/\s'\x22]+@"));

static WEBHOOK: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?i)(hooks\.slack\.com/services)/[A-Za-z0-9_/]+"));

/// A scheme word and what follows it, if that looks like more than a word.
static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| expression(r"(?i)\b(bearer|basic)(\s+)([A-Za-z0-9._~+/=-]{8,})"));

static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r#"(?i)\b((?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|digest|token)\s+)?|cookie\s*:\s*)([^"'\r\n•]+)"#,
    )
});

/// `name=value`, `name: value`, `"name": "value"`, where the name may be a secret's: the rest must stay unmatched, so
/// that a pair inside another's value is found too.
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r#"(?xi) ( [a-z0-9_.-]* (?: auth | bearer | cookie | credential | cv[cv] | jwt | key | otp | pass | pwd
              | secret | session | sid | sig | token ) [a-z0-9_.-]* )
            ( \\?["']? \s* [=:] \s* \\?["']? )
            ( [^\s"'&,;{}\[\]\\•] [^\s"'&,;\\]* )"#,
    )
});

static SQL: LazyLock<Regex> =
    LazyLock::new(|| expression(r#"(?i)\b(identified\s+by|password)(\s+)('[^']*'?|"[^"]*"?)"#));

/// A part of a multipart form.
static PART: LazyLock<Regex> = LazyLock::new(|| {
    expression(r#"(?is)(name="([^"]+)"[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n)(.*?)(\r?\n--|\z)"#)
});

/// All of them at once: nearly every text has nothing of the kind, and one pass tells.
static ANY: LazyLock<RegexSet> = LazyLock::new(|| {
    let all = [&KEY_BLOCK, &TOKEN, &IN_URL, &WEBHOOK, &SCHEME, &FIELD, &PAIR, &SQL, &PART];
    RegexSet::new(all.map(|shape| shape.as_str())).expect("each is a valid expression")
});

/// Masks everything that looks like a secret.
pub fn text(text: &str) -> String {
    if !ANY.is_match(text) {
        return text.to_owned();
    }
    let text = KEY_BLOCK.replace_all(text, format!("$1{MASK}$2"));
    let text = TOKEN.replace_all(&text, MASK);
    let text = IN_URL.replace_all(&text, format!("$1:{MASK}@"));
    let text = WEBHOOK.replace_all(&text, format!("$1/{MASK}"));
    let text = SCHEME.replace_all(&text, |found: &Captures<'_>| match telling(&found[3]) {
        true => format!("{}{}{MASK}", &found[1], &found[2]),
        false => found[0].to_owned(),
    });
    let text = FIELD.replace_all(&text, format!("$1{MASK}"));
    let text = SQL.replace_all(&text, format!("$1$2{MASK}"));
    let text = PART.replace_all(&text, |found: &Captures<'_>| match is_secret_name(&found[2]) {
        true => format!("{}{MASK}{}", &found[1], &found[4]),
        false => found[0].to_owned(),
    });
    let text = PAIR.replace_all(&text, |found: &Captures<'_>| {
        match is_secret_name(&found[1]) && !is_word(&found[3]) {
            true => format!("{}{}{MASK}", &found[1], &found[2]),
            false => found[0].to_owned(),
        }
    });
    text.into_owned()
}

/// Prose like "basic authentication" is not a credential.
fn telling(value: &str) -> bool {
    value.len() >= 20 || value.bytes().any(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
}

/// JSON's own words say nothing secret.
fn is_word(value: &str) -> bool {
    matches!(value, "true" | "false" | "null")
}

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("a valid expression")
}
