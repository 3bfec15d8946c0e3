//! Agents that attack the gate itself: broken HTTP/2, floods, and clients that take all the time there is.

mod conformance;
mod floods;
mod slow;
mod weaknesses;
