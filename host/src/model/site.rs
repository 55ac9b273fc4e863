//! Adapter sites: the linears that a hook may stand for.

use anyhow::Result;
use tch::{TchError, Tensor};

use super::config::ModelConfig;
use super::few_rows;
use super::input::ModelInput;
use super::parameter::parameters;
use super::prefix::Prefix;

/// One linear of the backbone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Place in `Backbone::all_sites`.
    pub index: usize,
    /// Path in the checkpoint, such as `language_model.model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// Last part of the path, such as `q_proj`.
    pub module: String,
    pub in_features: i64,
    pub out_features: i64,
    pub part: Part,
}

/// The part of the model that a site belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Language,
    Projector,
    Vision,
}

/// What a forward pass through the language model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Whole sequences at once, without a cache.
    Train,
    /// The prompts of a generation, filling the cache.
    Prefill,
    /// One further token for each row.
    Decode,
}

/// One forward pass, as a hook sees it at its start.
pub struct Pass<'a> {
    pub phase: Phase,
    pub input: &'a ModelInput,
}

/// Stands for every linear that is a site.
pub trait LinearHook {
    /// The output `[.., out]` for the input `[.., in]`, given the frozen weight `[out, in]` and bias `[out]`.
    fn linear(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor>;

    /// Called at the start of each pass through projector and language model; once more where soft tokens were put into its input.
    fn begin(&self, _pass: &Pass) -> Result<()> {
        Ok(())
    }

    /// Soft tokens for the rows of the pass that has just begun, which is one over whole prompts.
    fn prefix(&self) -> Result<Option<Prefix>> {
        Ok(None)
    }

    /// Whether the output at a token depends on the input at that token alone. If so, the last layer may leave out
    /// tokens whose result nobody reads.
    fn is_token_local(&self) -> bool {
        false
    }
}

/// The plain linear: `input W^T + b`.
pub struct Frozen;

/// `input W^T + b` of `[.., in]`, by whichever product is the faster one.
pub fn product(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, TchError> {
    let found = match bias {
        None => few_rows::product(input, weight)?,
        Some(_) => None,
    };
    match found {
        Some(found) => Ok(found),
        None => input.f_linear(weight, bias),
    }
}

impl LinearHook for Frozen {
    fn linear(&self, _site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        Ok(product(input, weight, bias)?)
    }

    fn is_token_local(&self) -> bool {
        true
    }
}

/// All linears of the backbone: language model, projector, then vision tower.
pub(super) fn sites(config: &ModelConfig) -> Vec<Site> {
    let list = parameters(config);
    let mut sites: Vec<Site> = Vec::new();
    for part in [Part::Language, Part::Projector, Part::Vision] {
        for parameter in &list {
            let Some(path) = parameter.name.strip_suffix(".weight") else { continue };
            let module = path.rsplit('.').next().unwrap_or(path);
            if part_of(path) == Some(part) && is_linear(module) {
                sites.push(Site {
                    index: sites.len(),
                    path: path.to_owned(),
                    module: module.to_owned(),
                    in_features: parameter.shape[1],
                    out_features: parameter.shape[0],
                    part,
                });
            }
        }
    }
    sites
}

fn part_of(path: &str) -> Option<Part> {
    match path.split('.').next() {
        Some("language_model") => Some(Part::Language),
        Some("multi_modal_projector") => Some(Part::Projector),
        Some("vision_tower") => Some(Part::Vision),
        _ => None,
    }
}

fn is_linear(module: &str) -> bool {
    module.ends_with("_proj") || module.starts_with("linear_") || module == "fc1" || module == "fc2"
}
