//! Errors as people read them: the act, then each cause.
//!
//! For the edge of a process only; inside, errors are passed on.

use std::error::Error;
use std::fmt::{self, Write as _};

/// Prints `who: error: cause: cause` to standard error.
pub fn error(who: &str, error: &(dyn Error + 'static)) {
    eprintln!("{who}: {}", Chain(error));
}

/// An error and its causes on one line; a cause that its parent already shows is not repeated.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        f.write_str(&shown)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !shown.ends_with(&text) {
                write!(f, ": {text}")?;
                shown.clear();
                write!(shown, "{text}")?;
            }
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the store could not be opened")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn each_cause_is_said_once() {
        let error = Outer(std::io::Error::other("disk full"));
        assert_eq!(Chain(&error).to_string(), "the store could not be opened: disk full");
    }
}
