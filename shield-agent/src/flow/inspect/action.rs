//! What an exchange means, in words a reviewer and a rule can use.

use serde::{Deserialize, Serialize};

/// What an action does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Creates or changes something.
    Write,
    /// Removes something.
    Delete,
    /// Runs code elsewhere.
    Execute,
    /// Moves money.
    Spend,
    /// Sends something to a person.
    Message,
    /// Changes who may do what.
    Grant,
    /// Changes what runs in production.
    Deploy,
    /// Opens a connection whose content is not seen.
    Connect,
    /// Not known: also an action.
    Unknown,
}

impl Effect {
    /// Every effect with its name in policy and JSON.
    pub const ALL: [(Effect, &'static str); 10] = [
        (Effect::Read, "read"),
        (Effect::Write, "write"),
        (Effect::Delete, "delete"),
        (Effect::Execute, "execute"),
        (Effect::Spend, "spend"),
        (Effect::Message, "message"),
        (Effect::Grant, "grant"),
        (Effect::Deploy, "deploy"),
        (Effect::Connect, "connect"),
        (Effect::Unknown, "unknown"),
    ];
}

/// The meaning of one exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What it does to the world.
    pub effect: Effect,
    /// Product family it was recognised as: `http`, `kubernetes`, `sql`, …
    pub family: String,
    /// The operation in the family's own words, such as `DELETE /v1/customers/{id}`.
    pub operation: String,
    /// What it is done to, such as `customer 8821`.
    pub resource: Option<String>,
    /// `production`, `staging`, …, when it can be told.
    pub environment: Option<String>,
    /// Whether it can be undone; `None` when unknown.
    pub reversible: Option<bool>,
    /// How many things it touches, when the request says.
    pub count: Option<u64>,
    /// Amount of money in minor units (cents), when the request says.
    pub amount: Option<i64>,
    /// ISO 4217 code of `amount`, upper case.
    pub currency: Option<String>,
    /// One line for the reviewer, such as `Delete customer 8821 at crm.acme.internal`.
    pub summary: String,
}
