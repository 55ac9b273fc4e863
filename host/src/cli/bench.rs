//! `coin-host bench`: how fast this machine trains and answers.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::bench::{self, Request, Setup, Training};
use crate::cli::model::InputArguments;
use crate::cli::output::Output;
use crate::config::{ConfigError, Dtype, FLOAT16, StackEntry};
use crate::data::bad_input::BadInput;
use crate::train::peft::{LORA, PeftAdapter};

/// Where none is named.
const LEARNING_RATE: f64 = 2e-4;

#[derive(Debug, Args)]
pub(crate) struct BenchCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Time training steps, and print one JSON object
    Train(Train),
    /// Time greedy answers, and print one JSON object
    Generate(Generate),
}

#[derive(Debug, Args)]
struct Train {
    #[command(flatten)]
    common: Common,
    /// The method's plugin
    #[arg(long, value_name = "PLUGIN", default_value = "lora")]
    method: String,
    /// Optimizer steps; the first two are for warming up
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    #[arg(long, default_value_t = LEARNING_RATE)]
    learning_rate: f64,
    /// Compute layers once more for their gradients, and keep little
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Write the trained LoRA adapter here, in PEFT's format
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Generate {
    #[command(flatten)]
    common: Common,
    /// A method's plugin [default: lora with --adapter, else the checkpoint answers as it is]
    #[arg(long, value_name = "PLUGIN")]
    method: Option<String>,
    /// Longest answer
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: u32,
    /// One answer at a time, from weights without the adapter in them
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    inputs: InputArguments,
    /// A key of the method: `r=128`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Start from this LoRA adapter, in PEFT's format, with its rank and modules, and from its projector
    #[arg(long, value_name = "FOLDER")]
    adapter: Option<PathBuf>,
    /// Records in a batch
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// CPU threads [default: all cores]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Look for plugins here first
    #[arg(long, value_name = "FOLDER")]
    plugin_dir: Vec<PathBuf>,
}

impl BenchCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let report = match &self.command {
            Which::Train(command) => {
                if command.common.inputs.dtype == Dtype::Float16 {
                    return Err(ConfigError::new(format!("--dtype float16: {}", FLOAT16.0))
                        .hint(FLOAT16.1)
                        .into());
                }
                let mut request = command.common.request(Some(&command.method))?;
                request.steps = command.steps as usize;
                request.learning_rate = command.learning_rate;
                request.gradient_checkpointing = command.gradient_checkpointing;
                let setup = Setup::new(request).map_err(BadInput::from)?;
                let options =
                    Training { adapter: command.common.adapter.as_deref(), out: command.out.as_deref() };
                let mut seen = |step, loss| output.note(&format!("step {step}: loss {loss:.4}"));
                bench::train(&setup, &options, &mut seen)?
            }
            Which::Generate(command) => {
                let mut request = command.common.request(command.method.as_deref())?;
                request.max_new_tokens = command.max_new_tokens as usize;
                request.strict = command.strict;
                let setup = Setup::new(request).map_err(BadInput::from)?;
                let mut seen = |done| output.note(&format!("{done} answers"));
                bench::generate(&setup, command.common.adapter.as_deref(), &mut seen)?
            }
        };
        output.json(&report)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Common {
    fn request(&self, method: Option<&str>) -> anyhow::Result<Request<'_>> {
        let method = method.or(self.adapter.as_ref().map(|_| LORA));
        if method.is_none() && !self.set.is_empty() {
            return Err(ConfigError::new("--set belongs to a method, and none is named")
                .hint("for example `--method lora`")
                .into());
        }
        let (mut keys, mut projector) = (toml::Table::new(), false);
        if let Some(folder) = self.adapter.as_ref().filter(|_| method == Some(LORA)) {
            let adapter = PeftAdapter::read(folder).map_err(BadInput::from)?;
            keys = adapter.keys().with_context(|| folder.display().to_string()).map_err(BadInput::from)?;
            projector = adapter.has_projector();
        }
        Ok(Request {
            inputs: self.inputs.inputs()?,
            dtype: self.inputs.dtype,
            method: method.map(|plugin| entry(plugin, keys, &self.set)).transpose()?,
            plugin_dirs: self.plugin_dir.clone(),
            batch_size: usize::from(self.batch_size),
            projector,
            steps: 1,
            learning_rate: LEARNING_RATE,
            gradient_checkpointing: false,
            max_new_tokens: 1,
            strict: false,
            threads: self.threads.map(usize::from),
        })
    }
}

/// A stack's entry with these keys and, above them, those of `--set`.
fn entry(plugin: &str, mut config: toml::Table, set: &[String]) -> Result<StackEntry, ConfigError> {
    for text in set {
        let fault = || {
            ConfigError::new(format!("--set {text}: expected KEY=VALUE")).hint("for example `--set r=128`")
        };
        let (key, value) = text.split_once('=').ok_or_else(fault)?;
        // What is no TOML is text, as in the other commands.
        let parsed = format!("value = {value}").parse::<toml::Table>().ok();
        let value = parsed.and_then(|mut table| table.remove("value"));
        let value = value.unwrap_or_else(|| toml::Value::String(text[key.len() + 1..].to_string()));
        config.insert(key.trim().to_string(), value);
    }
    Ok(StackEntry { plugin: plugin.to_string(), config })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_method_are_toml_or_text() {
        let set = ["r=128", "target_modules=[\"q_proj\"]", "word = plain text"].map(String::from);
        let adapter =
            toml::Table::from_iter([("r", 4), ("lora_alpha", 8)].map(|(k, v)| (k.into(), v.into())));
        let entry = entry("lora", adapter, &set).unwrap();
        assert_eq!(entry.config["r"].as_integer(), Some(128));
        assert_eq!(entry.config["target_modules"].as_array().map(Vec::len), Some(1));
        assert_eq!(entry.config["word"].as_str(), Some(" plain text"));
        assert_eq!(entry.config["lora_alpha"].as_integer(), Some(8));
        assert!(super::entry("lora", toml::Table::new(), &[String::from("r")]).is_err());
    }
}
