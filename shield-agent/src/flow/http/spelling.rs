//! How the names of a message's fields are spelled in HTTP/1: `Content-Type`, `content-type` and `CONTENT-TYPE` are one
//! name, yet there are programs at both ends that know only one spelling.
//!
//! It travels beside a message and is no part of it: only the case of letters can differ from what was judged.

use std::mem;

use ::http::request::Parts;
use ::http::{Extensions, Request, Version};

/// A message's spelling; the default is lower case.
#[derive(Clone, Debug, Default)]
pub struct Spelling(Extensions);

impl Spelling {
    /// Takes the spelling a request came with. In HTTP/2 there is one spelling only.
    pub fn take(request: &mut Parts) -> Self {
        match request.version {
            Version::HTTP_10 | Version::HTTP_11 => Self(mem::take(&mut request.extensions)),
            _ => Self::default(),
        }
    }

    /// Has a request written in this spelling.
    pub fn apply<B>(self, request: &mut Request<B>) {
        *request.extensions_mut() = self.0;
    }
}
