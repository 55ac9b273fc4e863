//! The test questions of a run as they are kept beside its answers, so that these can be scored again without the data, the plugins or a
//! GPU: one file a task, one JSON object a line, in the order of the answers.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::scorer::{Metric, Reference};
use crate::files;

/// Where they lie in a run's folder.
pub const FOLDER: &str = "references/zero-shot/questions";

/// A question with all that scoring needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptQuestion {
    pub question_id: String,
    /// As the model was asked, without its conversation template.
    pub prompt: String,
    /// The last line of the prompt is an instruction.
    #[serde(default)]
    pub instructed: bool,
    pub metric: Metric,
    #[serde(flatten)]
    pub reference: Reference,
    /// The answer of the blind baseline.
    pub blind: String,
    /// The dataset scores its answers by a rule of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scored_by_dataset: bool,
}

/// Whether the last line of a prompt is an instruction: the whole question stands before it.
pub fn ends_in_instruction(prompt: &str, question: &str) -> bool {
    prompt.rsplit_once('\n').is_some_and(|(before, _)| before.contains(question))
}

/// The file of a task in a run's folder.
pub fn path(run: &Path, task: &str) -> PathBuf {
    run.join(FOLDER).join(format!("{task}.jsonl"))
}

/// Writes a task's questions; a reader never sees half of them.
///
/// # Errors
/// That the file cannot be written.
pub fn write(path: &Path, questions: &[KeptQuestion]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = std::io::BufWriter::new(files::temporary(folder)?);
    for question in questions {
        serde_json::to_writer(&mut file, question)?;
        file.write_all(b"\n")?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_a_line_after_the_whole_question() {
        let question = "Which one is a solid?\nA. milk";
        assert!(ends_in_instruction("Which one is a solid?\nA. milk\nAnswer with the letter.", question));
        assert!(ends_in_instruction("Look closely.\nis it red?\nAnswer in a word.", "is it red?"));
        assert!(!ends_in_instruction(question, question));
        assert!(!ends_in_instruction("Answer in a word.\nis it red?", "is it red?"));
        assert!(!ends_in_instruction("In a word, is it red?", "is it red?"));
    }
}
