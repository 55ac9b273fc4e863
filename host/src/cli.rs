//! The command line: one file a command; parse, call the library, print.

mod bench;
mod compare;
mod config;
mod data;
mod doctor;
mod exit;
mod model;
mod output;
mod plugin;
mod report;
mod results;
mod score;
mod verify_run;
mod worker;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use output::{Color, Output};

/// Continual instruction tuning of multimodal LLMs: compare methods, each of them a plugin.
#[derive(Debug, Parser)]
#[command(name = "coin-host", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    display: Display,
}

const EXIT_CODES: &str =
    "Exit codes: 0 ok, 1 run failed, 2 bad configuration or usage, 3 plugin refused, 130 stopped";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Display")]
struct Display {
    /// Print no progress and no notes
    #[arg(long, short, global = true)]
    quiet: bool,
    /// When to use colors; `auto` on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train and evaluate every method of a run, on every order, with every seed
    Compare(compare::CompareCommand),
    /// Score a run's kept answers anew, or the predictions of any tool, by CoIN's scripts or the official metrics
    Score(score::ScoreCommand),
    /// Print the tables of a run again, also beside published results
    Report(report::ReportCommand),
    /// List and read results that others published
    Results(results::ResultsCommand),
    /// Time training steps and answers on this machine
    Bench(bench::BenchCommand),
    /// Say what data there is, check it, look at it
    Data(data::DataCommand),
    /// Explain a configuration, or list its keys
    Config(config::ConfigCommand),
    /// Fetch or pre-train a backbone, write logits, export adapters
    Model(model::ModelCommand),
    /// List, write, pack, sign, add and verify plugins
    Plugin(plugin::PluginCommand),
    /// Check that a finished run is still what it says it is: files, plugins, weights, data, scores
    VerifyRun(verify_run::VerifyRunCommand),
    /// Show libtorch, devices and plugins of this machine, and what is wrong with them
    Doctor(doctor::DoctorCommand),
    /// Run cells for a parent process
    #[command(hide = true)]
    Worker(worker::WorkerCommand),
}

/// Prints what clap has to say: help, the version, or what is wrong with the arguments.
fn misused(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when stdout or stderr is closed.
    let _ = error.print();
    let has_blank = std::env::args().any(|argument| argument.ends_with(','));
    if error.kind() == ErrorKind::UnknownArgument && has_blank {
        Output::new(Color::Auto, false).note("hint: lists have commas and no blanks: `a,b`");
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Parses the arguments of the process, runs the command, prints what goes wrong.
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return misused(&error),
    };
    let output = Output::new(line.display.color, line.display.quiet);
    let outcome = match &line.command {
        Command::Compare(command) => command.run(&output),
        Command::Score(command) => command.run(&output),
        Command::Report(command) => command.run(&output),
        Command::Results(command) => command.run(&output),
        Command::Bench(command) => command.run(&output),
        Command::Data(command) => command.run(&output),
        Command::Config(command) => command.run(&output),
        Command::Model(command) => command.run(&output),
        Command::Plugin(command) => command.run(&output),
        Command::VerifyRun(command) => command.run(&output),
        Command::Doctor(command) => command.run(&output),
        Command::Worker(command) => command.run(&output),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => exit::report(&error, &output),
    }
}
