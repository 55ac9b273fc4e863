//! What `coin-host doctor` shows: the libtorch that is loaded, devices, processor, threads, memory, and where plugins come from.

pub mod gpu;
pub mod machine;

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use gpu::{Absence, Gpus};
use machine::{Libtorch, Memory, Processor, Threads};

/// The libtorch that this host is written for.
pub const LIBTORCH_VERSION: &str = "2.13.0";

/// The state of one machine, as text through [`Report::text`] or as JSON through serde.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of the host.
    pub version: String,
    pub libtorch: Libtorch,
    /// Names that `device` takes in a run's configuration.
    pub devices: Vec<String>,
    /// What a libtorch with CUDA finds; `None` where libtorch is for the CPU only.
    pub gpus: Option<Gpus>,
    pub processor: Processor,
    pub threads: Threads,
    pub memory: Memory,
    /// In search order: a plugin in an earlier folder hides one of the same name in a later folder.
    pub plugin_folders: Vec<PluginFolder>,
    pub plugins: Vec<PluginState>,
    /// What stands in the way of a run; empty on a healthy machine.
    pub problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginFolder {
    pub path: PathBuf,
    pub exists: bool,
}

/// A plugin that was found, and what would become of it in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginState {
    pub name: String,
    /// `None` where the manifest could not be read.
    pub version: Option<String>,
    pub path: PathBuf,
    pub verdict: Verdict,
    /// Why it is not ready, as the loader says it.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Loads under the trust policy in force.
    Ready,
    /// Sound, but not in `plugins.lock`.
    Unlocked,
    /// Would be refused.
    Refused,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ready => "ready",
            Verdict::Unlocked => "unlocked",
            Verdict::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    pub what: String,
    pub hint: String,
}

/// Looks at this machine. Nothing is changed and no plugin code is run.
pub fn examine(plugin_folders: &[PathBuf], plugins: Vec<PluginState>) -> Report {
    let libtorch = machine::libtorch();
    let gpus = libtorch.cuda.then(gpu::gpus);
    let usable = gpus.as_ref().map_or(0, |gpus| gpus.usable);
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch,
        devices: std::iter::once("cpu".to_owned())
            .chain((0..usable).map(|index| format!("cuda:{index}")))
            .collect(),
        gpus,
        processor: machine::processor(),
        threads: machine::threads(),
        memory: machine::memory(),
        plugin_folders: plugin_folders
            .iter()
            .map(|path| PluginFolder { path: path.clone(), exists: path.is_dir() })
            .collect(),
        plugins,
        problems: Vec::new(),
    };
    report.problems = problems(&report);
    report
}

fn problems(report: &Report) -> Vec<Problem> {
    let mut found = Vec::new();
    let libtorch = &report.libtorch;
    if let Some(version) = &libtorch.version
        && version.split('+').next() != Some(LIBTORCH_VERSION)
    {
        found.push(Problem {
            what: format!("libtorch {version} is loaded, this host is written for {LIBTORCH_VERSION}"),
            hint: format!("point LIBTORCH at a libtorch {LIBTORCH_VERSION}, or unset it, and build again"),
        });
    }
    // A machine without a GPU is a machine in order: `auto` takes the CPU.
    if let Some(absence) = report.absence().filter(|absence| absence.is_fault) {
        let what = format!("libtorch has CUDA, but no GPU can be used: {}", absence.why);
        found.push(Problem { what, hint: absence.hint });
    }
    if !report.plugin_folders.is_empty() && report.plugin_folders.iter().all(|folder| !folder.exists) {
        found.push(Problem {
            what: "none of the plugin folders exists".to_owned(),
            hint: "`make build` builds the shipped plugins".to_owned(),
        });
    }
    for plugin in &report.plugins {
        let hint = match plugin.verdict {
            Verdict::Ready => continue,
            Verdict::Unlocked => {
                format!("`coin-host plugin lock {}` vouches for it, if you trust it", plugin.path.display())
            }
            Verdict::Refused => format!("`coin-host plugin info {}` says more", plugin.name),
        };
        let reason = plugin.reason.as_deref().unwrap_or("no reason given");
        found.push(Problem {
            what: format!("plugin `{}` is {}: {reason}", plugin.name, plugin.verdict.word()),
            hint,
        });
    }
    found
}

impl Report {
    fn absence(&self) -> Option<Absence> {
        self.gpus.as_ref()?.absence(self.libtorch.cuda_version.as_deref())
    }

    /// The GPUs, or why there is none and what to do for one.
    fn about_gpus(&self) -> Vec<String> {
        let Some(gpus) = &self.gpus else {
            return vec![String::from(
                "for a GPU: LIBTORCH with CUDA, or LIBTORCH_USE_PYTORCH=1, then `make build`",
            )];
        };
        let known =
            [gpus.model().map(str::to_owned), gpus.driver.as_ref().map(|driver| format!("driver {driver}"))];
        let known: Vec<String> = known.into_iter().flatten().collect();
        match self.absence() {
            None if known.is_empty() => Vec::new(),
            None => vec![known.join(", ")],
            Some(absence) if absence.is_fault => vec![String::from("no GPU: see the problem below")],
            Some(absence) => vec![format!("no GPU: {}; `auto` takes the CPU", absence.why), absence.hint],
        }
    }

    /// The report for a person: one subject a line, problems with their hints last.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |subject: &str, text: String| {
            writeln!(out, "{}", format!("{subject:<12}{text}").trim_end())
                .expect("a String takes every write");
        };
        line("coin-host", self.version.clone());
        line("libtorch", self.libtorch.to_string());
        line("devices", self.devices.join(", "));
        self.about_gpus().into_iter().for_each(|text| line("", text));
        line("processor", self.processor.to_string());
        line("threads", self.threads.to_string());
        line("memory", self.memory.to_string());
        for (index, folder) in self.plugin_folders.iter().enumerate() {
            let missing = if folder.exists { "" } else { " (does not exist)" };
            line(if index == 0 { "plugins in" } else { "" }, format!("{}{missing}", folder.path.display()));
        }
        let width = self.plugins.iter().map(|plugin| plugin.name.len()).max().unwrap_or(0);
        for (index, plugin) in self.plugins.iter().enumerate() {
            let version = plugin.version.as_deref().unwrap_or("?");
            let path = plugin.path.display();
            let text = format!("{:<width$}  {version:<8}  {:<8}  {path}", plugin.name, plugin.verdict.word());
            line(if index == 0 { "plugins" } else { "" }, text);
        }
        if self.plugins.is_empty() {
            line("plugins", "none found".to_owned());
        }
        for problem in &self.problems {
            write!(out, "\nproblem: {}\nhint: {}\n", problem.what, problem.hint)
                .expect("a String takes every write");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, verdict: Verdict, reason: Option<&str>) -> PluginState {
        PluginState {
            name: name.to_owned(),
            version: Some("0.1.0".to_owned()),
            path: PathBuf::from("plugins").join(name),
            verdict,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn this_machine_can_run_and_shows_its_libtorch() {
        let report = examine(&[], vec![plugin("lora", Verdict::Ready, None)]);
        assert_eq!(report.problems, []);
        assert_eq!(report.devices[0], "cpu");
        let path = report.libtorch.path.clone().expect("a loaded libtorch has a path");
        assert!(report.text().contains(&path.display().to_string()), "{}", report.text());
        let has_hint = report.text().contains("for a GPU: LIBTORCH with CUDA");
        assert_eq!(has_hint, !report.libtorch.cuda, "{}", report.text());
        assert_eq!(report.gpus.is_some(), report.libtorch.cuda);
        assert_eq!(report.devices.len(), 1 + report.gpus.as_ref().map_or(0, |gpus| gpus.usable));
        assert!(report.processor.cores > 0 && report.threads.within_operation > 0);
        assert!(report.memory.total_bytes >= report.memory.available_bytes);
    }

    #[test]
    fn each_problem_is_shown_with_its_hint() {
        let refused = plugin("ewc", Verdict::Refused, Some("built for api 2.0.0"));
        let mut report = examine(&[PathBuf::from("no-such-folder")], vec![refused]);
        report.libtorch.version = Some("2.12.0+cpu".to_owned());
        report.problems = problems(&report);
        let text = report.text();
        assert_eq!(report.problems.len(), 3, "{text}");
        for part in [
            "libtorch 2.12.0+cpu is loaded",
            "(does not exist)",
            "plugin `ewc` is refused: built for api 2.0.0",
            "hint: ",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_libtorch_with_cuda_says_what_it_found() {
        let mut report = examine(&[], Vec::new());
        report.libtorch.version = Some(String::from("2.13.0+cu130"));
        (report.libtorch.cuda, report.libtorch.cuda_version) = (true, Some(String::from("13.0")));
        let mut text_with = |gpus: Gpus| {
            report.devices.truncate(1);
            report.devices.extend((0..gpus.usable).map(|index| format!("cuda:{index}")));
            report.gpus = Some(gpus);
            report.problems = problems(&report);
            (report.problems.len(), report.text())
        };
        let (problems, text) = text_with(Gpus::default());
        assert_eq!(problems, 0, "a machine without a GPU is in order\n{text}");
        for part in [
            "libtorch    2.13.0+cu130 at ",
            "(CUDA 13.0, ",
            "\ndevices     cpu\n            no GPU: no NVIDIA driver is loaded; `auto` takes the CPU\n            for a GPU ",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let driver = Some(String::from("470.57.02"));
        let old = Gpus { driver: driver.clone(), device_files: 1, ..Gpus::default() };
        let (problems, text) = text_with(old);
        assert_eq!(problems, 1, "{text}");
        let part = "no GPU can be used: NVIDIA's driver 470.57.02 is too old for CUDA 13, which needs 580 or newer\nhint: update";
        assert!(text.contains(part), "{text}");
        let models = vec![String::from("NVIDIA L4"); 2];
        let (problems, text) = text_with(Gpus { usable: 2, models, driver, ..Gpus::default() });
        assert_eq!(problems, 0, "{text}");
        let part = "devices     cpu, cuda:0, cuda:1\n            NVIDIA L4, driver 470.57.02\n";
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn the_pinned_libtorch_is_the_one_the_host_is_written_for() {
        let script = include_str!("../libtorch/fetch.py");
        assert!(script.contains(&format!("TORCH_VERSION = \"{LIBTORCH_VERSION}\"")));
    }
}
