//! What stands between a verdict and the wire: records, holds, the sends a reviewer ordered, and every answer of ours.

pub mod approver;
pub mod recorder;
