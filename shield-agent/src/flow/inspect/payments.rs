//! Money: payments, refunds, payouts.

use serde_json::Value;

use super::action::{Action, Effect};
use super::http;
use super::request::Seen;

/// Words in a path that mean money moves, on any host.
const WORDS: [&str; 8] =
    ["refund", "refunds", "charge", "charges", "payout", "payouts", "payments", "payment_intents"];

/// More of them, on hosts of payment providers.
const PROVIDER_WORDS: [&str; 8] =
    ["transfers", "capture", "captures", "pay", "topups", "disputes", "orders", "subscriptions"];

const PROVIDERS: [&str; 6] =
    ["api.stripe.com", "paypal.com", "adyen.com", "squareup.com", "braintree-api.com", "wise.com"];

pub(super) fn see(seen: &Seen<'_>) -> Option<Action> {
    let provider =
        PROVIDERS.iter().any(|host| seen.host_is(host)) || seen.host().ends_with("adyenpayments.com");
    let named = seen.has_segment(&WORDS) || provider && seen.has_segment(&PROVIDER_WORDS);
    if !named || !seen.writes() || seen.method == "DELETE" {
        return None;
    }
    let mut action = seen.action("payments", Effect::Spend, http::operation(&seen.method, &seen.segments));
    if provider {
        (action.amount, action.currency) = amount(seen).unwrap_or_default();
        if let (Some(amount), Some(currency)) = (action.amount, &action.currency) {
            let money = format!("{}.{:02} {currency}", amount / 100, (amount % 100).abs());
            action.summary = format!("{} ({money})", action.summary);
        }
    }
    Some(action)
}

/// Amount in minor units, and currency, as the large providers write them.
fn amount(seen: &Seen<'_>) -> Option<(Option<i64>, Option<String>)> {
    let Some(json) = seen.json() else {
        // Stripe: a form, in minor units.
        let amount = seen.form("amount").and_then(|amount| amount.parse().ok());
        return Some((amount, seen.form("currency").map(|currency| currency.to_ascii_uppercase())));
    };
    let money = [&json["amount"], &json["amount_money"], &json["purchase_units"][0]["amount"]];
    let money = money.into_iter().find(|money| !money.is_null())?;
    let currency = [&money["currency"], &money["currency_code"], &json["currency"]];
    let currency = currency.into_iter().find_map(Value::as_str).map(str::to_ascii_uppercase);
    let minor = match money {
        Value::Number(number) => number.as_i64(),
        // Adyen and Square: whole minor units. PayPal: a decimal text.
        _ => money["value"]
            .as_i64()
            .or_else(|| money["amount"].as_i64())
            .or_else(|| money["value"].as_str().and_then(minor_units)),
    };
    Some((minor, currency))
}

/// `12.34` → 1234, for currencies with two decimals.
fn minor_units(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let cents: i64 = match fraction.len() {
        1 => fraction.parse::<i64>().ok()? * 10,
        2 => fraction.parse().ok()?,
        _ => return None,
    };
    whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(cents)
}
