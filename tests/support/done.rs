//! What a command did, and what is asked of it.

use std::process::Command;

use serde_json::Value;

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Runs `command` to its end.
    #[track_caller]
    pub fn of(command: &mut Command) -> Done {
        let output = command.output().unwrap();
        Done {
            status: output.status.code().expect("ended by a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn says(self, what: &str) -> Self {
        assert!(self.out.contains(what), "no {what:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub fn says_nothing_of(self, what: &str) -> Self {
        assert!(!self.out.contains(what) && !self.err.contains(what), "{what:?} in {self:#?}");
        self
    }

    /// On standard error.
    #[track_caller]
    pub fn complains(self, what: &str) -> Self {
        assert!(self.err.contains(what), "no {what:?} in {self:#?}");
        self
    }

    /// On standard error, with nothing on standard output.
    #[track_caller]
    pub fn only_complains(self, what: &str) -> Self {
        assert!(self.err.contains(what) && self.out.is_empty(), "no {what:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}
