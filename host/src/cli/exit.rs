//! From errors to exit codes: 0 ok, 1 run failed, 2 bad configuration or usage, 3 plugin refused, 130 stopped.

use std::io::ErrorKind;
use std::process::ExitCode;

use crate::cli::output::Output;
use crate::compare::Refused;
use crate::compare::message::message;
use crate::config::ConfigError;
use crate::data::bad_input::BadInput;
use crate::eval::file::FileError;
use crate::plugin::PluginError;
use crate::stop::{EXIT_CODE, Stopped};

const RUN_FAILED: u8 = 1;
const BAD_CONFIG: u8 = 2;

/// Prints an error and says how the process ends. A reader that has seen enough is no error.
pub(crate) fn report(error: &anyhow::Error, output: &Output) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    if let Some(stopped) = error.chain().find_map(|cause| cause.downcast_ref::<Stopped>()) {
        output.note(&stopped.to_string());
        return ExitCode::from(EXIT_CODE as u8);
    }
    output.error(&message(error));
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    let of = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<PluginError>() {
        Some(error) => Some(error.exit_code()),
        None if cause.is::<ConfigError>() || cause.is::<BadInput>() => Some(BAD_CONFIG),
        None => {
            let refused = cause.downcast_ref::<Refused>().map(Refused::exit_code);
            refused.or_else(|| cause.downcast_ref::<FileError>().map(FileError::exit_code))
        }
    };
    error.chain().find_map(of).unwrap_or(RUN_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_kind_of_error_decides_also_beneath_context() {
        let bad = Err::<(), _>(ConfigError::new("no")).context("while reading").unwrap_err();
        assert_eq!(code(&bad), 2);
        let bad = anyhow::Error::from(BadInput::from(anyhow::anyhow!("cause").context("outer")));
        assert_eq!((code(&bad), message(&bad)), (2, String::from("outer: cause")));
        assert_eq!(code(&anyhow::anyhow!("out of memory")), 1);
        let refused = PluginError::Refused { plugin: "`lora`".into(), reason: "damaged".into() };
        assert_eq!(code(&anyhow::Error::from(refused).context("before the first cell")), 3);
    }
}
