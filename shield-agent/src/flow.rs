//! The data plane, in travel order: accept → decrypt → http → inspect → policy → review → upstream.

pub mod http;
pub mod inspect;
pub mod origin;
pub mod policy;
