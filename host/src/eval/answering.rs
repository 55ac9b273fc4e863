//! The answering engine: questions of a task to answers, and answers to scores.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::data::prompt::Prompter;
use crate::data::task::{Question, Task};
use crate::eval::measure;
use crate::eval::scorer::Scorer;
use crate::files;
use crate::model::{Backbone, Beginning, GenerationConfig, LinearHook, Prompt, Tokenizer, generate};

/// Questions whose prompts and vision features are held at a time. No answer depends on it.
pub const ANSWERED_TOGETHER: usize = 1024;

/// An answer, as a line of a predictions file: CoIN's fields, then ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub question_id: String,
    pub prompt: String,
    pub text: String,
    /// In `0..=1`, by scorer and measure.
    pub scores: BTreeMap<String, f64>,
}

/// What answers come from.
pub struct Engine<'a> {
    pub backbone: &'a Backbone,
    pub tokenizer: &'a Tokenizer,
    pub scorers: &'a [Scorer],
    pub batch_size: usize,
    /// One question at a time ([`GenerationConfig::strict`]).
    pub strict: bool,
    pub limit: Option<usize>,
}

impl Engine<'_> {
    /// Answers and scores the task's test questions, greedily, as its prompter writes them. `seen` hears how many are done.
    pub fn answer(
        &self,
        task: &Task,
        prompter: &Prompter,
        hook: &dyn LinearHook,
        seen: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Answer>> {
        let mut questions = task.questions(self.limit)?;
        let count = questions.len();
        let mut answers = Vec::with_capacity(count);
        let mut beginning = Beginning::default();
        while !questions.is_empty() {
            let rest = questions.split_off(questions.len().min(ANSWERED_TOGETHER));
            let window = std::mem::replace(&mut questions, rest);
            let before = answers.len();
            let mut seen_of_all = |done, _: usize| seen(before + done, count);
            answers.extend(self.window(task, prompter, hook, window, &mut beginning, &mut seen_of_all)?);
        }
        Ok(answers)
    }

    fn window(
        &self,
        task: &Task,
        prompter: &Prompter,
        hook: &dyn LinearHook,
        questions: Vec<Question>,
        beginning: &mut Beginning,
        seen: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Answer>> {
        task.see(self.backbone, questions.iter().filter_map(|question| question.image.as_deref()))?;
        let positions = self.backbone.config().text_config.max_position_embeddings as usize;
        let prompts: Vec<Prompt> = questions
            .iter()
            .map(|question| {
                let input_ids = prompter.prompt(&question.prompt, question.image.is_some())?;
                ensure!(
                    input_ids.len() <= positions,
                    "task {}: the prompt of record `{}` has {} tokens, and the model has {positions} positions\nhint: shorten it, or leave the record out",
                    task.name,
                    question.id,
                    input_ids.len()
                );
                let image_features =
                    question.image.as_deref().map(|image| task.features(image)).transpose()?;
                Ok(Prompt { input_ids, image_features })
            })
            .collect::<Result<_>>()?;
        seen(0, questions.len());
        let config = GenerationConfig {
            max_new_tokens: task.max_new_tokens,
            batch_size: self.batch_size,
            end_token: prompter.end_token(),
            strict: self.strict,
        };
        let count = questions.len();
        let tokens =
            generate(self.backbone, hook, &prompts, &config, beginning, &mut |done| seen(done, count))
                .with_context(|| format!("answering task {}", task.name))?;
        let answers = questions
            .into_iter()
            .zip(tokens)
            .map(|(question, tokens)| {
                self.scored(task, &question, self.tokenizer.decode(&tokens)?.trim().to_string())
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(answers)
    }

    /// An answer with its scores.
    ///
    /// # Errors
    /// What a dataset with a rule of its own reports.
    pub fn scored(&self, task: &Task, question: &Question, text: String) -> Result<Answer> {
        let values = task.scores(self.scorers, &text, question)?;
        let names = self.scorers.iter().map(|scorer| scorer.name().to_string());
        let measured = measure::of(task.metric, &text, &question.reference);
        let measured = measured.map(|(name, value)| (name.to_string(), value));
        let scores = names.zip(values).chain(measured).collect();
        Ok(Answer { question_id: question.id.clone(), prompt: question.prompt.clone(), text, scores })
    }
}

/// What answers carry scores of: the scorers, then the measures that need no judge.
pub fn names(scorers: &[Scorer]) -> Vec<&'static str> {
    scorers.iter().map(|scorer| scorer.name()).chain(measure::COMPUTED).collect()
}

/// Mean score in percent under a name of [`names`]; the order of answers fixes the order of the sum.
pub fn percent(answers: &[Answer], name: &str) -> f64 {
    let sum: f64 = answers.iter().filter_map(|answer| answer.scores.get(name)).sum();
    100.0 * sum / answers.len().max(1) as f64
}

/// Writes a predictions file, one answer a line; a reader never sees half of it.
pub fn write(path: &Path, answers: &[Answer]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut file = files::temporary(folder)?;
    for answer in answers {
        serde_json::to_writer(&mut file, answer)?;
        file.write_all(b"\n")?;
    }
    file.persist(path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(())
}
