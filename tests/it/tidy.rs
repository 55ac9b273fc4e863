//! The house rules, checked on the repository itself: who may import whom, where `unsafe` may stand, how long a file may be,
//! what a text file looks like, which licences come in. Every complaint names file and line and says what to do.

mod code;
mod devices;
mod imports;
mod licences;
mod packages;
mod source;
mod text;

/// Complaints of one rule, gathered so that a run shows all of them.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// `line` counts from 1; 0 stands for the file as a whole.
    fn add(&mut self, path: &str, line: usize, what: impl std::fmt::Display) {
        self.0.push(if line == 0 { format!("{path}: {what}") } else { format!("{path}:{line}: {what}") });
    }

    fn expect_none(self, hint: &str) {
        assert!(self.0.is_empty(), "\n{}\nhint: {hint}\n", self.0.join("\n"));
    }
}
