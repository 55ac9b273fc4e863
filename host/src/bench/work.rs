//! Floating point operations that a step needs.

use crate::model::{Backbone, ModelConfig, Part};

/// Products of `[tokens, in]` and `[in, out]` cost twice this many operations a token.
struct Sizes {
    /// Numbers of all linears of the language model.
    language: f64,
    /// Of those that the last layer computes for tokens that somebody reads only.
    last: f64,
    /// Of the first layer's queries, keys and values: nothing below them is trained.
    first: f64,
    head: f64,
    /// Of both linears of the projector.
    projector: f64,
}

/// The tokens of one batch.
pub(super) struct Tokens<'l> {
    /// Of each row.
    pub(super) rows: &'l [usize],
    pub(super) images: usize,
    /// Tokens whose logits are computed.
    pub(super) read: usize,
}

impl Sizes {
    fn of(backbone: &Backbone) -> Sizes {
        let model = backbone.config();
        let layers = model.text_config.num_hidden_layers;
        let sum = |keep: &dyn Fn(&str) -> bool, part: Part| -> f64 {
            let sites = backbone.sites().iter().filter(|site| site.part == part && keep(&site.path));
            sites.map(|site| (site.in_features * site.out_features) as f64).sum()
        };
        let layer = |number: i64, names: &'static [&'static str]| {
            move |path: &str| {
                path.contains(&format!("layers.{number}.")) && names.iter().any(|name| path.ends_with(name))
            }
        };
        Sizes {
            language: sum(&|_| true, Part::Language),
            last: sum(
                &layer(layers - 1, &["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
                Part::Language,
            ),
            first: sum(&layer(0, &["q_proj", "k_proj", "v_proj"]), Part::Language),
            head: (model.text_config.hidden_size * model.text_config.vocab_size) as f64,
            projector: sum(&|_| true, Part::Projector),
        }
    }
}

/// Forward and backward of a batch with a method of `adapter` trained numbers at linears of the language model, frozen weights without
/// gradient. Normalisations, activations and the optimizer are not counted.
pub(super) fn training(backbone: &Backbone, adapter: f64, tokens: &Tokens) -> f64 {
    let sizes = Sizes::of(backbone);
    let all = tokens.rows.iter().sum::<usize>() as f64;
    let read = tokens.read as f64;
    let forward = 2.0 * ((sizes.language - sizes.last) * all + sizes.last * read + sizes.head * read);
    // The gradient of the input alone.
    let backward = forward - 2.0 * sizes.first * all;
    // Forward, and the gradients of input and weight.
    let adapters = 6.0 * adapter * all;
    forward + backward + adapters + 3.0 * attention(backbone, tokens.rows) + pictures(backbone, tokens.images)
}

/// Prompts of the given lengths, and answers of `generated` tokens in all.
pub(super) fn answering(backbone: &Backbone, tokens: &Tokens, generated: usize) -> f64 {
    let sizes = Sizes::of(backbone);
    let (all, read) = (tokens.rows.iter().sum::<usize>() as f64, tokens.read as f64);
    let prompts = 2.0 * ((sizes.language - sizes.last) * all + sizes.last * read + sizes.head * read);
    let answers = 2.0 * (sizes.language + sizes.head) * generated as f64;
    prompts + answers + attention(backbone, tokens.rows) + pictures(backbone, tokens.images)
}

/// Scores and sums over the tokens that each one sees.
fn attention(backbone: &Backbone, rows: &[usize]) -> f64 {
    let text = &backbone.config().text_config;
    let width = (text.num_attention_heads * text.head_dim() * text.num_hidden_layers) as f64;
    rows.iter().map(|&length| 2.0 * width * (length as f64) * (length as f64 + 1.0)).sum()
}

/// Tower and projector, forward.
fn pictures(backbone: &Backbone, images: usize) -> f64 {
    let config: &ModelConfig = backbone.config();
    let vision = &config.vision_config;
    let (width, patches) = (vision.hidden_size as f64, vision.grid().pow(2) as f64);
    let patch = (vision.num_channels * vision.patch_size.pow(2)) as f64;
    let tokens = patches + 1.0;
    let block = 4.0 * width * width + 2.0 * width * vision.intermediate_size as f64;
    let tower = 2.0 * patches * patch * width
        + config.vision_blocks() as f64 * (2.0 * tokens * block + 4.0 * tokens * tokens * width);
    images as f64 * (tower + 2.0 * Sizes::of(backbone).projector * config.image_tokens() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::tests::small;

    #[test]
    fn operations_are_counted_as_by_hand() {
        // 16 wide, 2 layers, MLP 24 wide, 40 words: q and o 256 each, k and v 128 each, MLP 3 x 384.
        let backbone = Backbone::random(small(), 1).expect("a model");
        let (layer, last, first) = (1920.0, 1664.0, 512.0);
        let tokens = Tokens { rows: &[10, 6], images: 0, read: 4 };
        let forward = 2.0 * ((2.0 * layer - last) * 16.0 + last * 4.0 + 640.0 * 4.0);
        let attention = 2.0 * 32.0 * (110.0 + 42.0);
        let expected = 2.0 * forward - 2.0 * first * 16.0 + 6.0 * 100.0 * 16.0 + 3.0 * attention;
        assert_eq!(training(&backbone, 100.0, &tokens), expected);
        let answers = 2.0 * (2.0 * layer + 640.0) * 5.0;
        assert_eq!(answering(&backbone, &tokens, 5), forward + answers + attention);
        assert!(pictures(&backbone, 2) == 2.0 * pictures(&backbone, 1) && pictures(&backbone, 1) > 0.0);
    }
}
