//! LwF, learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282): the model that a stage began with teaches the model that it
//! becomes, on the new samples alone. Equations 1 to 3, for the tokens of the answers:
//!
//! ```text
//! L = L_task + lambda * mean over tokens of -sum_i y'_i log p'_i        y' = softmax(teacher / T), p' = softmax(logits / T)
//! ```
//!
//! The paper distils the heads of earlier tasks; a language model has one head, its vocabulary.

use coin_plugin_api::{Error, Method, Phase, Registry, Result, Stage, Step, Strategy, Term, export_plugin};
use serde::{Deserialize, Serialize};

const TEACHER: &str = "lwf";

#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Weight of the term.
    lambda: f64,
    /// `T` above.
    temperature: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { lambda: 1.0, temperature: 2.0 }
    }
}

struct Lwf(Config);

fn build(config: Config, _registry: &Registry) -> Result<Method> {
    if config.temperature <= 0.0 {
        return Err(Error::config(format!(
            "temperature = {} is not positive\nhint: the paper has 2",
            config.temperature
        )));
    }
    Ok(Method::strategy(Lwf(config)))
}

impl Strategy for Lwf {
    fn before_stage(&mut self, stage: &Stage) -> Result<Vec<Phase>> {
        if stage.index() > 0 {
            stage.snapshot(TEACHER)?;
        }
        Ok(Vec::new())
    }

    fn loss(&mut self, step: &Step) -> Result<Vec<Term>> {
        if step.stage()? == 0 {
            return Ok(Vec::new());
        }
        let cooled = 1.0 / self.0.temperature;
        let teacher = step.teacher_logits(TEACHER)?.mul_scalar(cooled)?.softmax(-1)?;
        let student = step.logits()?.mul_scalar(cooled)?.log_softmax(-1)?;
        let agreement = teacher.mul(&student)?.sum(&[-1], false)?.mean_all()?;
        Ok(vec![Term::new("lwf", agreement.mul_scalar(-self.0.lambda)?)])
    }
}

export_plugin! { name: "lwf", method: build, needs: [Teacher] }
