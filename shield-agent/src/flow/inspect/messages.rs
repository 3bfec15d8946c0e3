//! Messages to people: mail, chat, telephones.

use super::action::{Action, Effect};
use super::http;
use super::request::Seen;

/// Hosts and a word their sending paths contain; an empty word means every path.
const SENDERS: [(&str, &str); 18] = [
    ("api.sendgrid.com", "send"),
    ("mailgun.net", "messages"),
    ("api.postmarkapp.com", "email"),
    ("api.postmarkapp.com", "batch"),
    ("api.resend.com", "emails"),
    ("mandrillapp.com", "send"),
    ("api.mailchimp.com", "send"),
    ("gmail.googleapis.com", "send"),
    ("www.googleapis.com", "send"),
    ("graph.microsoft.com", "sendmail"),
    ("hooks.slack.com", ""),
    ("webhook.office.com", ""),
    ("api.twilio.com", "messages.json"),
    ("api.twilio.com", "calls.json"),
    ("discord.com", "messages"),
    ("discord.com", "webhooks"),
    ("graph.microsoft.com", "messages"),
    ("graph.facebook.com", "messages"),
];

/// Methods of Slack's API that people see.
const SLACK: [&str; 5] =
    ["chat.postmessage", "chat.postephemeral", "chat.schedulemessage", "chat.update", "files.upload"];

/// Words in a path that mean a message is sent, on any host.
const WORDS: [&str; 6] = ["send-email", "send_email", "sendemail", "sendmail", "send-mail", "send-sms"];

pub(super) fn see(seen: &Seen<'_>) -> Option<Action> {
    if !seen.writes() || seen.method == "DELETE" {
        return None;
    }
    let listed = SENDERS
        .iter()
        .any(|(host, word)| seen.host_is(host) && (word.is_empty() || seen.has_segment(&[word])));
    let slack = seen.host_is("slack.com") && SLACK.contains(&seen.last().as_str());
    let telegram = seen.host_is("api.telegram.org") && seen.last().starts_with("send");
    let named = seen.has_segment(&WORDS);
    if !(listed || slack || telegram || named) {
        return None;
    }
    Some(seen.action("messages", Effect::Message, http::operation(&seen.method, &seen.segments)))
}
