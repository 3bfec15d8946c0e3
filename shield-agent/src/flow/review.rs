//! What stands between a verdict and the wire: records, holds, the sends a reviewer ordered, and every answer of ours.

pub mod answers;
pub mod approver;
pub mod dialect;
pub mod patience;
pub mod recorder;
