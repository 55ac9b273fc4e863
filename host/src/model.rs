//! Backbones: vision tower, projector, language model; weights, tokenizer, sites, generation.

pub mod backbone;
pub mod cache;
pub mod config;
pub mod decoder;
pub mod generation;
pub mod input;
pub mod parameter;
pub mod prefix;
pub mod projector;
pub mod site;
pub mod tokenizer;
pub mod vision;
pub mod weights;

#[cfg(test)]
mod tests;

pub use backbone::Backbone;
pub use cache::KeyValueCache;
pub use config::ModelConfig;
pub use generation::{GenerationConfig, Prompt, generate};
pub use input::{Images, ModelInput, Padding};
pub use prefix::{Prefix, Shift};
pub use site::{Frozen, LinearHook, Part, Pass, Phase, Site};
pub use tokenizer::Tokenizer;
