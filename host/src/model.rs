//! Backbones: vision tower, projector, language model; weights, tokenizer, sites, generation.
