//! Requests with more than one reading, sent through a gate to real servers: what the journal shows is what they
//! received, and what was refused reached none of them.

mod cases;
mod corpus;
mod mutants;
mod oracle;
mod origins;
mod shown;
mod site;
