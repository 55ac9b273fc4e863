//! The process in which the plugin is loaded: it answers one request after another, and whatever the plugin does to a process it does to
//! this one.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use coin_plugin_api::Level;
use serde::{Deserialize, Serialize};

use super::check::{Check, Verdict};
use super::resume::Leg;
use super::subject::Subject;
use super::testbed::Testbed;
use super::training::{self, Base, Fault};
use super::trial::{Method, Trial};
use super::{answers, configuration, dataset, failure, memory, precision, resume, seed, stacking};
use crate::compare::message::message;
use crate::compare::world::PluginCache;
use crate::config::{Plugins, StackEntry, Trust};
use crate::ops::set_log_sink;
use crate::plugin::breadcrumb::Breadcrumb;
use crate::plugin::hook::Hook;
use crate::plugin::{Plugin, catalog};

/// Steps of a stage.
pub(super) const STEPS: usize = 4;

/// Where [`Ends`] are written down.
const ENDS: &str = "ends";

/// What the child is told first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub subject: Subject,
    pub breadcrumb: PathBuf,
    /// A folder of its own.
    pub scratch: PathBuf,
    /// Where stdout goes.
    pub printed: PathBuf,
    /// Keys of the method's stack entry, or of the datasets.
    #[serde(with = "as_text")]
    pub keys: toml::Table,
    /// The folder of the datasets' files.
    pub root: Option<PathBuf>,
}

/// A table as TOML text: JSON has neither infinities nor dates.
mod as_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(table: &toml::Table, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&toml::to_string(table).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<toml::Table, D::Error> {
        toml::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// What it is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) check: Check,
    pub(super) dataset: Option<String>,
    /// Of [`Check::Resume`], which goes from process to process.
    #[serde(default)]
    pub(super) leg: Option<Leg>,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) verdict: Verdict,
    /// What the library turned out to be.
    pub(super) found: Option<Found>,
}

/// What a loaded plugin is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) version: String,
    pub(super) method: bool,
    pub(super) datasets: Vec<String>,
}

/// Serves requests until there are no more.
pub fn serve(requests: impl BufRead, mut replies: impl Write) -> Result<()> {
    let mut lines = requests.lines();
    let first = lines.next().context("a check was started without a request")??;
    let setup: Setup = serde_json::from_str(&first)?;
    tch::set_num_threads(1);
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global()?;
    Breadcrumb::create(&setup.breadcrumb)?.install();
    let ends = Ends::listen(&setup.scratch);
    let mut child = Child { setup, ends, plugin: None, place: None, base: None };
    for line in lines {
        let request: Request = serde_json::from_str(&line?)?;
        let verdict = child.check(&request).unwrap_or_else(|error| Verdict::Fail(message(&error)));
        let found = child.plugin.as_ref().map(found);
        let mut line = serde_json::to_vec(&Reply { verdict, found })?;
        line.push(b'\n');
        replies.write_all(&line)?;
        replies.flush()?;
    }
    Ok(())
}

fn found(plugin: &Plugin) -> Found {
    let description = plugin.description();
    Found {
        version: description.version.clone(),
        method: description.method,
        datasets: description.datasets.clone(),
    }
}

/// The first panic in the `Drop` of what plugins made, in a file: their process may be gone when it is asked for.
struct Ends(PathBuf);

impl Ends {
    /// Hears what plugins log; the rest goes where it goes without.
    fn listen(scratch: &Path) -> Ends {
        let path = scratch.join(ENDS);
        let heard = path.clone();
        set_log_sink(move |level, speaker, text| {
            // As the guard of `coin-plugin-api` words it; an author's own errors are no panics.
            let panicked = text.starts_with("panicked at ") || text.starts_with("panicked: ");
            if panicked && level == Level::Error as u32 && speaker.starts_with(Hook::Drop.name()) {
                let file = OpenOptions::new().write(true).create_new(true).open(&heard);
                // Not the first one, or a full disk, of which other checks tell.
                drop(file.and_then(|mut file| write!(file, "{speaker}: {text}")));
            }
            // Nobody is left to hear that standard error is closed.
            drop(writeln!(std::io::stderr(), "{speaker}: {text}"));
        });
        Ends(path)
    }

    fn forget(&self) -> Result<()> {
        if self.0.exists() {
            std::fs::remove_file(&self.0)?;
        }
        Ok(())
    }
}

/// Whether nothing panicked in a `Drop` in the process of this folder.
pub(super) fn ends(scratch: &Path) -> Result<Verdict> {
    let path = scratch.join(ENDS);
    Ok(if path.exists() { Verdict::Fail(std::fs::read_to_string(path)?) } else { Verdict::Pass })
}

struct Child {
    setup: Setup,
    ends: Ends,
    plugin: Option<Plugin>,
    place: Option<Place>,
    base: Option<Result<Base, Fault>>,
}

impl Child {
    fn check(&mut self, request: &Request) -> Result<Verdict> {
        if self.plugin.is_none() {
            self.plugin = Some(self.setup.subject.load()?);
        }
        let plugin = self.plugin.clone().context("the plugin was just loaded")?;
        if let Some(name) = &request.dataset {
            self.ends.forget()?;
            let verdict = dataset::verdict(request.check, &plugin, name, &self.setup)?;
            return if verdict == Verdict::Pass { ends(&self.setup.scratch) } else { Ok(verdict) };
        }
        match request.check {
            Check::Load => Ok(Verdict::Pass),
            Check::Manifest => Ok(match &self.setup.subject.manifest {
                None => Verdict::Skip(String::from("no plugin.toml beside it")),
                Some(manifest) => catalog::same(manifest, plugin.description())
                    .map_or_else(Verdict::Fail, |()| Verdict::Pass),
            }),
            check => self.method(check, request.leg.as_ref(), plugin),
        }
    }

    fn method(&mut self, check: Check, leg: Option<&Leg>, plugin: Plugin) -> Result<Verdict> {
        if self.place.is_none() {
            self.place = Some(Place::new(plugin, &self.setup)?);
        }
        let place = self.place.as_ref().context("the place was just made")?;
        match check {
            Check::Defaults => return configuration::defaults(place),
            Check::UnknownKeys => return configuration::unknown_keys(place),
            _ => {}
        }
        if let Some(leg) = leg.filter(|leg| leg.number > 0) {
            return resume::leg(place, leg, None);
        }
        let base = match self.base.get_or_insert_with(|| training::base(place)) {
            Ok(base) => base,
            Err(fault) => return Ok(fault.verdict(check)),
        };
        match check {
            Check::Trains | Check::Finite | Check::Handles | Check::Gradients | Check::Capabilities => {
                Ok(training::verdict(check, base))
            }
            Check::Values => configuration::values(place),
            Check::Seed => seed::verdict(place, base),
            Check::Resume => {
                resume::leg(place, leg.context("`resume` goes from process to process")?, Some(&base.record))
            }
            Check::Errors => failure::verdict(place),
            Check::Memory => memory::verdict(place),
            Check::Bfloat16 => precision::bfloat16(place),
            Check::Checkpointing => precision::checkpointing(place, base),
            Check::BatchMates | Check::Cache | Check::TokenLocal | Check::Merged => {
                answers::verdict(check, place)
            }
            Check::Stack => stacking::verdict(place, place.scratch()),
            other => bail!("`{}` is no check of a method", other.name()),
        }
    }
}

/// A plugin by its name.
type Find = dyn Fn(&str) -> Result<Plugin>;

/// The method with all that it is tried on.
pub(super) struct Place {
    plugin: Plugin,
    find: Box<Find>,
    stack: Vec<StackEntry>,
    keys: toml::Table,
    testbed: Testbed,
    scratch: PathBuf,
    has_adapter: bool,
}

impl Place {
    /// A method without an adapter is put on LoRA, where that is found.
    fn new(plugin: Plugin, setup: &Setup) -> Result<Place> {
        let testbed = Testbed::new(tch::Kind::Float, STEPS, &setup.scratch)?;
        let others = Plugins { dirs: Vec::new(), dev: Vec::new(), trust: Trust::Locked };
        let (own, others) = (plugin.clone(), RefCell::new(PluginCache::new(&others)));
        let find = move |name: &str| {
            if name == own.name() { Ok(own.clone()) } else { Ok(others.borrow_mut().plugin(name)?) }
        };
        let stack = vec![StackEntry { plugin: plugin.name().to_string(), config: setup.keys.clone() }];
        let mut place = Place {
            plugin,
            find: Box::new(find),
            stack,
            keys: setup.keys.clone(),
            testbed,
            scratch: setup.scratch.clone(),
            has_adapter: false,
        };
        let has_adapter = {
            let world = place.testbed.world()?;
            let trial = Trial::build(&world, place.method(0)).context("with its defaults it is not built")?;
            !trial.cell.adapters.is_empty()
        };
        place.has_adapter = has_adapter;
        if !has_adapter && place.find("lora").is_ok() {
            let lora = StackEntry { plugin: String::from("lora"), config: toml::Table::new() };
            place.stack.insert(0, lora);
        }
        Ok(place)
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    pub(super) fn name(&self) -> &str {
        self.plugin.name()
    }

    pub(super) fn find(&self, name: &str) -> Result<Plugin> {
        (self.find)(name)
    }

    pub(super) fn stack(&self) -> &[StackEntry] {
        &self.stack
    }

    pub(super) fn keys(&self) -> &toml::Table {
        &self.keys
    }

    pub(super) fn has_adapter(&self) -> bool {
        self.has_adapter
    }

    pub(super) fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub(super) fn method(&self, seed: u64) -> Method<'_> {
        Method { stack: &self.stack, plugins: &*self.find, seed }
    }
}
