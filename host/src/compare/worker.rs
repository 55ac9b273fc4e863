//! A worker: one process with one resident backbone that does cells one after another. Plugins are loaded here and nowhere else,
//! so whatever they do to a process they do to this one.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use coin_plugin_api::Split;

use crate::compare::cell_run::{CellRun, Ended, Progress, scored};
use crate::compare::clock::{Clock, Lap};
use crate::compare::content;
use crate::compare::event::{CellEvent, Line};
use crate::compare::message::message;
use crate::compare::outlook::tasks::counted;
use crate::compare::plan::Cell as Planned;
use crate::compare::protocol::{Checked, FeatureSize, Inputs, Refusal, Reply, Request, Work};
use crate::compare::recipe::Recipe;
use crate::compare::test_records;
use crate::compare::world::{self, Parts, PluginCache, feature_folder};
use crate::config::{Location, RunConfig, StackEntry, Task as Configured};
use crate::data::feature_cache::entry_bytes;
use crate::data::lengths;
use crate::data::task::Task;
use crate::eval::answering::{self, Answer, Engine};
use crate::eval::blind::{Blind, Seen};
use crate::eval::questions::{self, KeptQuestion};
use crate::model::Frozen;
use crate::ops::set_compute_device;
use crate::plugin::breadcrumb::Breadcrumb;
use crate::plugin::{Plugin, PluginError, capability};
use crate::report::results::{CellResult, PluginUse, References, Status};
use crate::stop::Stop;
use crate::train::cell::World;

/// Serves requests until there are no more.
pub fn serve(requests: impl BufRead, mut replies: impl Write) -> Result<()> {
    let mut lines = requests.lines();
    let first = lines.next().context("a worker was started without a request")??;
    let Request::Setup { config, out, breadcrumb } = serde_json::from_str(&first)? else {
        bail!("the first request of a worker must be its set-up");
    };
    // Ctrl-C in a terminal reaches workers too, and their parent is the one to end them; a second one ends this process at once.
    Stop::on_signals()?;
    tch::set_num_threads(config.training.threads as i32);
    if !world::device(config.backbone.device).is_cuda() {
        // Workers share the processor; beside a GPU it has nothing else to do than decode pictures.
        rayon::ThreadPoolBuilder::new().num_threads(config.training.threads).build_global()?;
    }
    Breadcrumb::create(&breadcrumb)?.install();
    let mut shelf = PluginCache::new(&config.plugins);
    let mut parts: Option<Parts> = None;
    for line in lines {
        let reply = match serde_json::from_str(&line?)? {
            Request::Setup { .. } => bail!("a worker is set up once"),
            Request::Count { task } => Reply::Counted { count: counted(&config, &task, &mut shelf) },
            Request::Check { method } => check(&config, &mut shelf, &mut parts, method.as_deref()),
            Request::Run { work, beginning } => {
                let done = loaded(&config, &mut shelf, &mut parts)
                    .and_then(|parts| run(&config, parts, &mut shelf, &out, &work, beginning, &mut replies));
                done.unwrap_or_else(|error| Reply::Failed { message: message(&error) })
            }
        };
        send(&mut replies, &reply)?;
    }
    Ok(())
}

fn send(replies: &mut impl Write, reply: &Reply) -> Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    replies.write_all(&line)?;
    replies.flush()?;
    Ok(())
}

fn loaded<'p>(
    config: &RunConfig,
    shelf: &mut PluginCache,
    parts: &'p mut Option<Parts>,
) -> Result<&'p Parts> {
    if parts.is_none() {
        let loaded = world::load(config, shelf)?;
        set_compute_device(loaded.backbone.device());
        *parts = Some(loaded);
    }
    parts.as_ref().context("the world was just loaded")
}

fn world<'p>(config: &'p RunConfig, parts: &'p Parts) -> Result<World<'p>> {
    Ok(World {
        config,
        backbone: &parts.backbone,
        tokenizer: &parts.tokenizer,
        tasks: &parts.tasks,
        prompters: world::prompters(config, &parts.backbone, &parts.tokenizer)?,
    })
}

/// Opens every task, and builds a method if one is named.
fn check(
    config: &RunConfig,
    shelf: &mut PluginCache,
    parts: &mut Option<Parts>,
    method: Option<&str>,
) -> Reply {
    let found = loaded(config, shelf, parts).and_then(|parts| {
        let Some(name) = method else {
            let inputs = Inputs { datasets: readers(config, shelf), content: content::of(config, parts)? };
            let features = features(config, parts)?;
            let notes = notes(config, parts)?;
            let positions = parts.backbone.config().text_config.max_position_embeddings as usize;
            let prompters = world::prompters(config, &parts.backbone, &parts.tokenizer)?;
            let (tasks, limit) = (&parts.tasks, config.evaluation.limit);
            lengths::check(tasks, &prompters, &config.seeds, limit, positions, 0, &|_| true)?;
            return Ok(Checked { inputs, features, notes, ..Checked::default() });
        };
        let world = world(config, parts)?;
        let reference = config.references.iter().find(|reference| reference.method == name);
        let recipe = config.method(name).map(Recipe::of_method).or(reference.map(Recipe::of_reference));
        let recipe = recipe.with_context(|| format!("no method is named `{name}`"))?;
        recipe.build(&world, shelf, 0, stages_in_order(config))?;
        let plugins = vec![(name.to_string(), uses(config, shelf, recipe.stack))];
        let notes = recipe.stack.iter().filter_map(|entry| shelf.note(&entry.plugin)).collect();
        Ok(Checked { plugins, notes, ..Checked::default() })
    });
    Reply::Checked(found.unwrap_or_else(|error| {
        let refusal =
            Refusal { method: method.map(str::to_string), message: message(&error), exit: exit_code(&error) };
        Checked { refusals: vec![refusal], ..Checked::default() }
    }))
}

/// What a person should know of the tests before they are scored. The embedded stand-ins are what they are.
fn notes(config: &RunConfig, parts: &Parts) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for task in &parts.tasks {
        let note = test_records::look(task, config.evaluation.limit)?;
        let is_builtin = |task: &Configured| matches!(task.root, Location::Builtin(_));
        notes.extend(note.filter(|_| !config.task(&task.name).is_some_and(is_builtin)));
    }
    Ok(notes)
}

/// What a cache on disk will take: every record may have a picture of its own.
fn features(config: &RunConfig, parts: &Parts) -> Result<Option<FeatureSize>> {
    let backbone = &config.backbone;
    let Some((location, gib)) = backbone.feature_cache.as_ref().zip(backbone.feature_cache_gib) else {
        return Ok(None);
    };
    let mut pictures = 0;
    for task in &parts.tasks {
        let rows = config.training.batch_size * config.training.accumulate_of(config.task(&task.name));
        let trained = config.training.steps.map_or(usize::MAX, |steps| steps.saturating_mul(rows));
        // Each training may draw other records.
        let trainings =
            (config.methods.len() * config.orders.len() + config.references.len()) * config.seeds.len();
        pictures += task.source.len(Split::Train)?.min(trained.saturating_mul(trainings));
        pictures += task.source.len(Split::Test)?.min(config.evaluation.limit.unwrap_or(usize::MAX));
    }
    let element = parts.backbone.kind().elt_size_in_bytes() as u64;
    let Some(cache) = parts.tasks.first().and_then(|task| task.feature_cache.as_ref()) else {
        return Ok(None);
    };
    let (others, own) = cache.others();
    Ok(Some(FeatureSize {
        folder: feature_folder(location)?,
        pictures: pictures as u64,
        bytes: entry_bytes(parts.backbone.config(), element),
        held: cache.held(),
        others,
        own: own.to_path_buf(),
        most: (gib * f64::from(1 << 30)) as u64,
    }))
}

/// 3 for a refused plugin, 2 for everything else that is found before the first cell.
fn exit_code(error: &anyhow::Error) -> u8 {
    let code =
        error.chain().find_map(|cause| cause.downcast_ref::<PluginError>()).map(PluginError::exit_code);
    code.unwrap_or(2).max(2)
}

fn uses(config: &RunConfig, shelf: &mut PluginCache, stack: &[StackEntry]) -> Vec<PluginUse> {
    let loaded = stack.iter().filter_map(|entry| shelf.plugin(&entry.plugin).ok());
    loaded.map(|plugin| used(config, &plugin)).collect()
}

/// The plugins that read the tasks, each once.
fn readers(config: &RunConfig, shelf: &mut PluginCache) -> Vec<PluginUse> {
    let mut found: Vec<PluginUse> = Vec::new();
    for (_, task) in &config.tasks {
        let name = task.dataset.split('/').next().unwrap_or_default();
        if let Ok(plugin) = shelf.plugin(name)
            && found.iter().all(|known| known.name != plugin.name())
        {
            found.push(used(config, &plugin));
        }
    }
    found
}

fn used(config: &RunConfig, plugin: &Plugin) -> PluginUse {
    let ground = plugin.ground();
    let granted = capability::grants(&config.protocol);
    let capabilities = plugin.description().needs.iter().filter(|need| granted.contains(need));
    PluginUse {
        name: plugin.name().to_string(),
        version: plugin.version().to_string(),
        sha256: plugin.sha256().to_string(),
        source: ground.commit.clone().unwrap_or_default(),
        trust: ground.mark.to_string(),
        api: plugin.api().to_string(),
        key: ground.key.clone().unwrap_or_default(),
        capabilities: capabilities.map(|need| need.name().to_string()).collect(),
    }
}

fn stages_in_order(config: &RunConfig) -> Vec<Vec<usize>> {
    (0..config.tasks.len()).map(|task| vec![task]).collect()
}

fn run(
    config: &RunConfig,
    parts: &Parts,
    shelf: &mut PluginCache,
    out: &Path,
    work: &Work,
    beginning: Option<String>,
    replies: &mut impl Write,
) -> Result<Reply> {
    let world = world(config, parts)?;
    let replies = RefCell::new(replies);
    let tell = |reply: &Reply| {
        if send(&mut *replies.borrow_mut(), reply).is_err() {
            // The parent is gone: another comparison may go on in this folder, and must not find a second writer.
            std::process::exit(1);
        }
    };
    let name = work.name();
    let mut emit = |event| tell(&Reply::Event(Line { cell: name.clone(), event }));
    emit(CellEvent::Started);
    let folder = out.join(work.folder());
    let (recipe, cell, stages): (_, _, Vec<Vec<usize>>) = match work {
        Work::ZeroShot => return zero_shot(&world, parts, out, &folder, &mut emit),
        Work::Cell { cell } => {
            let order = config.orders.iter().find(|order| order.name == cell.order);
            let order = order.with_context(|| format!("no order is named `{}`", cell.order))?;
            let method = config.method(&cell.method).map(Recipe::of_method);
            let recipe = method.with_context(|| format!("no method is named `{}`", cell.method))?;
            let stages = order.tasks.iter().map(|task| Ok(vec![place(config, task)?]));
            (recipe, cell.clone(), stages.collect::<Result<_>>()?)
        }
        Work::Single { reference, seed, task } => {
            let cell = Planned { method: String::from("single"), order: task.clone(), seed: *seed };
            (reference_recipe(config, *reference)?, cell, vec![vec![place(config, task)?]])
        }
        Work::Joint { reference, seed } => {
            let cell = Planned { method: String::from("joint"), order: String::from("joint"), seed: *seed };
            (reference_recipe(config, *reference)?, cell, vec![(0..config.tasks.len()).collect()])
        }
    };
    let measured = |result| {
        if matches!(work, Work::Cell { .. }) {
            tell(&Reply::Measured(Box::new(result)));
        }
    };
    Ok(cell_reply(&world, parts, shelf, recipe, &cell, stages, folder, beginning, &mut emit, &measured))
}

fn reference_recipe(config: &RunConfig, reference: usize) -> Result<Recipe<'_>> {
    config.references.get(reference).map(Recipe::of_reference).context("no such reference")
}

fn place(config: &RunConfig, task: &str) -> Result<usize> {
    config
        .tasks
        .iter()
        .position(|(name, _)| name == task)
        .with_context(|| format!("no task is named `{task}`"))
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call for cells and joint trainings, each argument differs between them"
)]
fn cell_reply(
    world: &World,
    parts: &Parts,
    shelf: &mut PluginCache,
    recipe: Recipe,
    cell: &Planned,
    stages: Vec<Vec<usize>>,
    folder: std::path::PathBuf,
    beginning: Option<String>,
    emit: &mut dyn FnMut(CellEvent),
    measured: &dyn Fn(CellResult),
) -> Reply {
    let columns = stages.concat();
    let tasks = columns.iter().map(|&column| world.config.tasks[column].0.clone()).collect();
    let built = recipe.build(world, shelf, cell.seed, stages);
    let running = CellResult {
        tasks,
        plugins: uses(world.config, shelf, recipe.stack),
        ..CellResult::begun(&cell.method, &cell.order, cell.seed, Status::Running)
    };
    let so_far = |progress: &Progress| CellResult {
        scorers: scored(progress, |_| None),
        flips: (world.config.evaluation.count_flips > 0).then_some(progress.flips),
        cost: progress.cost.clone(),
        granted: progress.granted.clone(),
        handovers: progress.handovers.clone(),
        ..running.clone()
    };
    let done = built.and_then(|(built, strategies)| {
        let run = CellRun {
            cell: built,
            strategies,
            folder,
            columns,
            scorers: parts.scorers.clone(),
            beginning,
            emit: &mut *emit,
            measured: &mut |progress| measured(so_far(progress)),
        };
        run.run()
    });
    let result = match done {
        Ok(Ended::Stage { beginning }) => return Reply::Stage { beginning },
        Ok(Ended::Cell(progress)) => CellResult { status: Status::Done, ..so_far(&progress) },
        Err(error) => {
            let message = message(&error);
            emit(CellEvent::Failed { message: message.clone() });
            CellResult { status: Status::Failed, error: Some(message), ..running }
        }
    };
    Reply::Cell(Box::new(result))
}

/// Answers every task before any training, fits the blind baseline of each, and keeps the questions.
fn zero_shot(
    world: &World,
    parts: &Parts,
    out: &Path,
    folder: &Path,
    emit: &mut dyn FnMut(CellEvent),
) -> Result<Reply> {
    let mut clock = Clock::start(world.tasks);
    let evaluation = &world.config.evaluation;
    let engine = Engine {
        backbone: world.backbone,
        tokenizer: world.tokenizer,
        scorers: &parts.scorers,
        batch_size: evaluation.batch_size,
        strict: evaluation.strict,
        limit: evaluation.limit,
    };
    let names = answering::names(&parts.scorers);
    let mut references: Vec<(String, References)> =
        names.iter().map(|name| ((*name).to_string(), References::default())).collect();
    let mut notes = Vec::new();
    for (task, prompter) in world.tasks.iter().zip(&world.prompters) {
        let mut answered =
            |done, of| emit(CellEvent::Answered { stage: None, task: task.name.clone(), done, of });
        let answers = engine.answer(task, prompter, &Frozen, &mut answered)?;
        answering::write(&folder.join("predictions").join(format!("{}.jsonl", task.name)), &answers)?;
        task.rest();
        let test = task.questions(evaluation.limit)?;
        // Answers and questions of days are not lost for a training record that cannot be read.
        let blind = blind(task).unwrap_or_else(|error| {
            notes.push(format!("task {}: no blind baseline: {}", task.name, message(&error)));
            None
        });
        let usual: Vec<Answer> = test
            .iter()
            .map(|question| {
                let answer = blind.as_ref().map_or("", |blind| blind.answer(&question.record.question));
                engine.scored(task, question, answer.to_string())
            })
            .collect::<Result<_>>()?;
        for (name, reference) in &mut references {
            let is_there = blind.is_some() && !usual.is_empty();
            reference.blind.push(is_there.then(|| answering::percent(&usual, name)));
            reference.zero_shot.push(Some(answering::percent(&answers, name)));
        }
        let kept: Vec<KeptQuestion> = test
            .into_iter()
            .zip(usual)
            .map(|(question, usual)| {
                Ok(KeptQuestion {
                    scored_by_dataset: task.source.score("", &question.record)?.is_some(),
                    instructed: questions::ends_in_instruction(&question.prompt, &question.record.question),
                    question_id: question.id,
                    prompt: question.prompt,
                    metric: task.metric,
                    reference: question.reference,
                    blind: usual.text,
                })
            })
            .collect::<Result<_>>()?;
        let path = questions::path(out, &task.name);
        questions::write(&path, &kept).with_context(|| format!("{} cannot be written", path.display()))?;
        let score = parts.scorers.first().map_or(0.0, |scorer| answering::percent(&answers, scorer.name()));
        emit(CellEvent::Evaluated { stage: None, task: task.name.clone(), score });
    }
    let Lap { own, pictures } = clock.lap();
    emit(CellEvent::Finished { train_seconds: 0.0, eval_seconds: own, picture_seconds: pictures });
    Ok(Reply::ZeroShot { references, notes })
}

/// The blind baseline of a task: a pass over its training records.
fn blind(task: &Task) -> Result<Option<Blind>> {
    let mut seen = Seen::default();
    task.each_record(Split::Train, None, &mut |record| {
        seen.add(task.metric, record.question, record.answers, record.bbox);
        Ok(())
    })?;
    Ok(Some(Blind::fit(seen)))
}
