//! The data plane, in travel order: accept → decrypt → http → inspect → policy → review → upstream.

pub mod accept;
pub mod decrypt;
pub mod http;
pub mod inspect;
pub mod origin;
pub mod policy;
pub mod review;
pub mod upstream;
