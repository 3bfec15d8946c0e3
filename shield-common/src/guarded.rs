//! Which tasks a guard judges: those below one cgroup.

/// The agent's cgroup, as the kernel asks for the ancestors of a task. No hidden padding: every byte enters the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Its id.
    pub cgroup_id: u64,
    /// How many cgroups are above it.
    pub level: u32,
    /// Zero.
    pub unused: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_no_hidden_padding() {
        assert_eq!(size_of::<Guarded>(), 8 + 2 * 4);
    }
}
