//! The model against plain loops, and against itself: cached and uncached, alone and in a batch.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::config::tests::small;
use super::input::Row;
use super::*;
use crate::data::image::Transform;
use crate::data::prompt::{Prompter, Template};
use crate::model::weights::{self, Mismatch};
use crate::quickstart::captions;
use crate::stream::random::Draws;

fn backbone() -> Backbone {
    Backbone::random(small(), 7).expect("random weights")
}

/// A prompt with four image tokens and `length` words.
fn ids(length: usize, first: i64) -> Vec<i64> {
    let mut ids = vec![1, 3, 3, 3, 3];
    ids.extend((0..length as i64).map(|place| 4 + (first + 5 * place) % 35));
    ids
}

fn picture(seed: i64) -> Tensor {
    backbone().image_features(&pixels(seed)).expect("features").get(0)
}

fn pixels(seed: i64) -> Tensor {
    let mut draws = Draws::new(0, "pixels", &[seed as u64]);
    let values: Vec<f32> = (0..3 * 16 * 16).map(|_| draws.normal() as f32).collect();
    Tensor::from_slice(&values).view([1, 3, 16, 16])
}

fn batch(rows: &[(Vec<i64>, Option<Tensor>)], padding: Padding) -> ModelInput {
    let rows: Vec<Row> =
        rows.iter().map(|(ids, picture)| Row { input_ids: ids, image_features: picture.as_ref() }).collect();
    ModelInput::batch(&rows, padding, 3, 2, Device::Cpu).expect("a batch")
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// Rows of a tensor of two dimensions.
fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
    Vec::<Vec<f64>>::try_from(&tensor.detach().to_kind(Kind::Double)).expect("two dimensions")
}

fn product(x: &[f64], weight: &[Vec<f64>]) -> Vec<f64> {
    weight.iter().map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

fn rms_norm(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let scale = (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64 + epsilon).sqrt().recip();
    x.iter().zip(weight).map(|(v, w)| v * scale * w).collect()
}

/// Half-split rotation of one head, straight from the definition.
fn rotate(head: &[f64], position: usize, theta: f64) -> Vec<f64> {
    let half = head.len() / 2;
    let mut out = head.to_vec();
    for pair in 0..half {
        let angle = position as f64 * theta.powf(-2.0 * pair as f64 / head.len() as f64);
        out[pair] = head[pair] * angle.cos() - head[pair + half] * angle.sin();
        out[pair + half] = head[pair + half] * angle.cos() + head[pair] * angle.sin();
    }
    out
}

/// The decoder for one row of tokens in plain loops and double precision.
fn reference(backbone: &Backbone, ids: &[i64]) -> Vec<Vec<f64>> {
    let config = &backbone.config().text_config;
    let matrix = |name: &str| rows(&backbone.parameters()[&format!("language_model.{name}.weight")]);
    let vector = |name: &str| {
        Vec::<f64>::try_from(
            &backbone.parameters()[&format!("language_model.{name}.weight")].to_kind(Kind::Double),
        )
        .expect("one dimension")
    };
    let (size, groups) = (config.head_dim() as usize, config.key_value_heads() as usize);
    let heads = config.num_attention_heads as usize;
    let table = matrix("model.embed_tokens");
    let mut hidden: Vec<Vec<f64>> = ids.iter().map(|&id| table[id as usize].clone()).collect();
    for layer in 0..config.num_hidden_layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let weight = vector(&name("input_layernorm"));
        let normed: Vec<_> = hidden.iter().map(|x| rms_norm(x, &weight, config.rms_norm_eps)).collect();
        let all = |part: &str| -> Vec<Vec<f64>> {
            let weight = matrix(&name(part));
            normed.iter().map(|x| product(x, &weight)).collect()
        };
        let (queries, keys, values) =
            (all("self_attn.q_proj"), all("self_attn.k_proj"), all("self_attn.v_proj"));
        let out = matrix(&name("self_attn.o_proj"));
        for token in 0..ids.len() {
            let mut mixed = Vec::new();
            for head in 0..heads {
                let group = head * groups / heads;
                let query = rotate(&queries[token][head * size..][..size], token, config.rope_theta);
                let scores: Vec<f64> = (0..=token)
                    .map(|other| {
                        let key = rotate(&keys[other][group * size..][..size], other, config.rope_theta);
                        let score: f64 = query.iter().zip(&key).map(|(a, b)| a * b).sum();
                        (score / (size as f64).sqrt()).exp()
                    })
                    .collect();
                let total: f64 = scores.iter().sum();
                mixed.extend((0..size).map(|place| {
                    (0..=token)
                        .map(|other| scores[other] / total * values[other][group * size + place])
                        .sum::<f64>()
                }));
            }
            for (x, update) in hidden[token].iter_mut().zip(product(&mixed, &out)) {
                *x += update;
            }
        }
        let weight = vector(&name("post_attention_layernorm"));
        let (gate, up, down) =
            (matrix(&name("mlp.gate_proj")), matrix(&name("mlp.up_proj")), matrix(&name("mlp.down_proj")));
        for x in &mut hidden {
            let normed = rms_norm(x, &weight, config.rms_norm_eps);
            let inner: Vec<f64> = product(&normed, &gate)
                .into_iter()
                .zip(product(&normed, &up))
                .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
                .collect();
            for (x, update) in x.iter_mut().zip(product(&inner, &down)) {
                *x += update;
            }
        }
    }
    let (norm, head) = (vector("model.norm"), matrix("lm_head"));
    hidden.iter().map(|x| product(&rms_norm(x, &norm, config.rms_norm_eps), &head)).collect()
}

#[test]
fn the_decoder_equals_plain_loops() {
    let backbone = backbone();
    let ids = [1, 9, 4, 30, 12, 9, 5];
    let input = batch(&[(ids.to_vec(), None)], Padding::Right);
    let logits = backbone
        .logits(&backbone.hidden(&input, &Frozen, None).expect("hidden").squeeze_dim(0))
        .expect("logits");
    for (found, expected) in rows(&logits).iter().zip(reference(&backbone, &ids)) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn padding_and_batch_mates_do_not_change_a_row() {
    let backbone = backbone();
    let (short, long) = ((ids(3, 1), Some(picture(1))), (ids(9, 2), Some(picture(2))));
    let text = (vec![1, 20, 21, 22], None);
    let alone = backbone.hidden(&batch(&[short.clone_row()], Padding::Right), &Frozen, None).expect("hidden");
    let together = [short.clone_row(), long.clone_row(), text.clone_row()];
    let right = backbone.hidden(&batch(&together, Padding::Right), &Frozen, None).expect("hidden");
    let left = backbone.hidden(&batch(&together, Padding::Left), &Frozen, None).expect("hidden");
    let length = short.0.len() as i64;
    let columns = long.0.len() as i64;
    assert!(largest_difference(&alone.get(0), &right.get(0).narrow(0, 0, length)) < 1e-5);
    assert!(largest_difference(&alone.get(0), &left.get(0).narrow(0, columns - length, length)) < 1e-5);
    assert!(right.isfinite().all().int64_value(&[]) == 1 && left.isfinite().all().int64_value(&[]) == 1);
}

trait CloneRow {
    fn clone_row(&self) -> (Vec<i64>, Option<Tensor>);
}

impl CloneRow for (Vec<i64>, Option<Tensor>) {
    fn clone_row(&self) -> (Vec<i64>, Option<Tensor>) {
        (self.0.clone(), self.1.as_ref().map(Tensor::shallow_clone))
    }
}

#[test]
fn selected_tokens_equal_the_whole_batch() {
    let backbone = backbone();
    let rows = [(ids(3, 1), Some(picture(1))), (ids(9, 2), Some(picture(2))), (vec![1, 20, 21], None)];
    for padding in [Padding::Right, Padding::Left] {
        let input = batch(&rows, padding);
        let columns = input.input_ids.size2().expect("two dimensions").1;
        let tokens = [columns - 8, columns - 9, columns + 13, columns + 12, columns + 11];
        let whole = backbone.hidden(&input, &Frozen, None).expect("hidden");
        let expected = whole.reshape([-1, 16]).index_select(0, &Tensor::from_slice(&tokens));
        let found = backbone.hidden_at(&input, &tokens, &Frozen, None).expect("hidden");
        assert!(largest_difference(&found, &expected) < 1e-5);
        let watched = backbone.hidden_at(&input, &tokens, &Watch::default(), None).expect("hidden");
        assert!(largest_difference(&watched, &expected) < 1e-5);
    }
}

/// Greedy answers without a cache: the whole sequence is computed again for each token.
fn uncached(backbone: &Backbone, prompt: &Prompt, config: &GenerationConfig) -> Vec<i64> {
    let mut ids = prompt.input_ids.clone();
    let mut answer = Vec::new();
    while answer.len() < config.max_new_tokens {
        let input = batch(
            &[(ids.clone(), prompt.image_features.as_ref().map(Tensor::shallow_clone))],
            Padding::Right,
        );
        let hidden = backbone.hidden(&input, &Frozen, None).expect("hidden");
        let last = hidden.select(1, ids.len() as i64 - 1);
        let next = backbone.logits(&last).expect("logits").argmax(1, false).int64_value(&[0]);
        if next == config.end_token {
            break;
        }
        ids.push(next);
        answer.push(next);
    }
    answer
}

/// Puts the embeddings of the words 7 and 9 before every prompt, as soft tokens.
struct Soft<'a> {
    backbone: &'a Backbone,
    rows: RefCell<i64>,
}

impl LinearHook for Soft<'_> {
    fn linear(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        Frozen.linear(site, weight, bias, input)
    }

    fn begin(&self, pass: &Pass) -> Result<()> {
        *self.rows.borrow_mut() = pass.input.rows.len() as i64;
        Ok(())
    }

    fn prefix(&self) -> Result<Option<Prefix>> {
        let embedding = &self.backbone.parameters()["language_model.model.embed_tokens.weight"];
        let tokens = embedding.f_index_select(0, &Tensor::f_from_slice(&[7i64, 9])?)?.f_unsqueeze(0)?;
        Ok(Some(Prefix {
            tokens: tokens.f_expand([*self.rows.borrow(), -1, -1], false)?,
            after_image: false,
        }))
    }
}

#[test]
fn soft_tokens_do_what_words_with_these_embeddings_do() {
    let backbone = backbone();
    let prompt = |ids: Vec<i64>, index: i64| Prompt { input_ids: ids, image_features: Some(picture(index)) };
    let soft: Vec<Prompt> = (0..3).map(|index| prompt(ids(2 + 2 * index as usize, index), index)).collect();
    let words: Vec<Prompt> = (0..3)
        .map(|index| prompt([vec![7, 9], ids(2 + 2 * index as usize, index)].concat(), index))
        .collect();
    let config = GenerationConfig { max_new_tokens: 5, batch_size: 3, end_token: 0, strict: false };
    let hook = Soft { backbone: &backbone, rows: RefCell::default() };
    assert_eq!(
        generate(&backbone, &hook, &soft, &config, &mut Beginning::default(), &mut |_| ()).expect("answers"),
        generate(&backbone, &Frozen, &words, &config, &mut Beginning::default(), &mut |_| ())
            .expect("answers"),
    );

    let input = batch(&[(ids(3, 1), Some(picture(1))), (ids(5, 2), Some(picture(2)))], Padding::Right);
    let (prefixed, shift) =
        backbone.with_prefix(&input, Phase::Train, &hook, 2).expect("soft tokens").expect("some");
    let places = [7, 10 + 9];
    let found = backbone.hidden_at(&prefixed, &places.map(|token| shift.token(token)), &hook, None);
    let spelled = |ids: Vec<i64>| [vec![7, 9], ids].concat();
    let rows = [(spelled(ids(3, 1)), Some(picture(1))), (spelled(ids(5, 2)), Some(picture(2)))];
    let expected = backbone.hidden_at(&batch(&rows, Padding::Right), &[9, 12 + 11], &Frozen, None);
    assert!(largest_difference(&found.expect("hidden"), &expected.expect("hidden")) < 1e-6);
}

/// A model of 64 positions: prompts of 60 and of 64 tokens have 5 and 1 left, counted as answers' tokens.
#[test]
fn a_row_that_reaches_the_last_position_ends_alone() {
    let backbone = backbone();
    let config = GenerationConfig { max_new_tokens: 12, batch_size: 4, end_token: 0, strict: false };
    let prompt = |length: usize| Prompt { input_ids: ids(length - 5, 1), image_features: Some(picture(1)) };
    let answers = |lengths: &[usize]| {
        let prompts: Vec<Prompt> = lengths.iter().map(|&length| prompt(length)).collect();
        generate(&backbone, &Frozen, &prompts, &config, &mut Beginning::default(), &mut |_| ())
            .expect("answers")
    };
    let together = answers(&[60, 20, 64, 30]);
    let counts: Vec<usize> = together.iter().map(Vec::len).collect();
    assert_eq!(counts, [5, 12, 1, 12]);
    let alone: Vec<_> = [60, 20, 64, 30].iter().map(|&length| answers(&[length]).remove(0)).collect();
    assert_eq!(together, alone);
    let hook = Soft { backbone: &backbone, rows: RefCell::default() };
    let soft = generate(
        &backbone,
        &hook,
        &[prompt(60), prompt(20)],
        &config,
        &mut Beginning::default(),
        &mut |_| (),
    )
    .expect("answers");
    assert_eq!((soft[0].len(), soft[1].len()), (3, 12), "two soft tokens stand before the prompt");
    let error = generate(&backbone, &Frozen, &[prompt(65)], &config, &mut Beginning::default(), &mut |_| ())
        .expect_err("too long");
    assert!(error.to_string().contains("65 tokens") && error.to_string().contains("64 positions"));
}

#[test]
fn answers_of_a_damaged_model_are_an_error() {
    let backbone = backbone();
    let head = backbone.parameters()["language_model.lm_head.weight"].shallow_clone();
    let _ = head.get(9).fill_(f64::NAN);
    let config = GenerationConfig { max_new_tokens: 3, batch_size: 2, end_token: 0, strict: false };
    let prompt = Prompt { input_ids: vec![1, 30, 31], image_features: None };
    let error = generate(&backbone, &Frozen, &[prompt], &config, &mut Beginning::default(), &mut |_| ())
        .expect_err("NaN");
    assert!(format!("{error:#}").contains("not finite"), "{error:#}");
}

#[test]
fn cached_answers_equal_uncached_ones_and_stop_at_the_end_token() {
    let backbone = backbone();
    // An answer that says the image token could not be put into an uncached batch.
    let head = backbone.parameters()["language_model.lm_head.weight"].shallow_clone();
    let _ = head.get(3).fill_(0.0);
    let mut prompts: Vec<Prompt> = (0..6)
        .map(|index| Prompt {
            input_ids: ids(2 + 3 * (index % 3), index as i64),
            image_features: Some(picture(index as i64)),
        })
        .collect();
    prompts.push(Prompt { input_ids: vec![1, 30, 31], image_features: None });
    let free = GenerationConfig { max_new_tokens: 6, batch_size: 4, end_token: 0, strict: false };
    let found = generate(&backbone, &Frozen, &prompts, &free, &mut Beginning::default(), &mut |_| ())
        .expect("answers");
    let expected: Vec<_> = prompts.iter().map(|prompt| uncached(&backbone, prompt, &free)).collect();
    assert_eq!(found, expected);
    // End the first row's answer at its third token: the others must go on as before.
    let ending = GenerationConfig { end_token: expected[0][2], ..free };
    let found = generate(&backbone, &Frozen, &prompts, &ending, &mut Beginning::default(), &mut |_| ())
        .expect("answers");
    for (found, whole) in found.iter().zip(&expected) {
        let cut = whole.iter().position(|&id| id == ending.end_token).unwrap_or(whole.len());
        assert_eq!(found, &whole[..cut]);
    }
    assert!(found[0].len() < 6);
}

/// Counts the calls at each site, and is not token-local.
#[derive(Default)]
struct Watch(RefCell<BTreeMap<String, usize>>);

impl LinearHook for Watch {
    fn linear(&self, site: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
        assert_eq!(weight.size(), [site.out_features, site.in_features], "{}", site.path);
        assert_eq!(input.size().last(), Some(&site.in_features), "{}", site.path);
        *self.0.borrow_mut().entry(site.path.clone()).or_default() += 1;
        Frozen.linear(site, weight, bias, input)
    }
}

#[test]
fn the_hook_stands_for_every_site_once_a_pass() {
    let backbone = backbone();
    let watch = Watch::default();
    let input = batch(&[(ids(3, 1), Some(picture(1)))], Padding::Right);
    assert_eq!(backbone.hidden(&input, &watch, None).expect("hidden").size(), [1, 8, 16]);
    let called: Vec<(String, usize)> = watch.0.take().into_iter().collect();
    let mut expected: Vec<(String, usize)> =
        backbone.sites().iter().map(|site| (site.path.clone(), 1)).collect();
    expected.sort();
    assert_eq!(called, expected);
    assert_eq!(expected.len(), 2 * 7 + 2);
    assert_eq!(backbone.image_features_with(&pixels(1), &watch).expect("features").size(), [1, 4, 48]);
    assert_eq!(watch.0.borrow().len(), backbone.all_sites().len() - backbone.sites().len());
    assert!(backbone.all_sites().iter().enumerate().all(|(index, site)| site.index == index));
}

#[test]
fn frozen_weights_ask_for_no_gradient() {
    let backbone = backbone();
    let hidden = backbone
        .hidden(&batch(&[(ids(3, 1), Some(picture(1)))], Padding::Right), &Frozen, None)
        .expect("hidden");
    assert!(!hidden.requires_grad());
    assert!(backbone.parameters().values().all(|tensor| !tensor.requires_grad()));
}

#[test]
fn pixel_unshuffle_joins_neighbours() {
    let backbone = backbone();
    let pixels = pixels(3);
    assert_eq!(backbone.image_features(&pixels).expect("features").size(), [1, 4, 48]);
    let mut plain = small();
    plain.projector_scale_factor = 1;
    let mut tensors = shallow(&backbone);
    let weight = Tensor::zeros([16, 12], (Kind::Float, Device::Cpu));
    tensors.insert("multi_modal_projector.linear_1.weight".to_owned(), weight);
    let unjoined = Backbone::from_tensors(plain, tensors).expect("fits");
    let (tokens, joined) = (
        unjoined.image_features(&pixels).expect("features"),
        backbone.image_features(&pixels).expect("features"),
    );
    // Token 1 of the joined 2 x 2 grid holds places (0,2), (0,3), (1,2), (1,3) of the 4 x 4 grid.
    let expected = Tensor::cat(&[2, 3, 6, 7].map(|place| tokens.get(0).get(place)), 0);
    assert!(largest_difference(&joined.get(0).get(1), &expected) < 1e-6);
}

fn shallow(backbone: &Backbone) -> BTreeMap<String, Tensor> {
    backbone.parameters().iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
}

#[test]
fn all_faults_of_a_checkpoint_are_listed_at_once() {
    let mut tensors = shallow(&backbone());
    let options = (Kind::Float, Device::Cpu);
    tensors.remove("language_model.model.norm.weight");
    tensors.remove("multi_modal_projector.linear_1.bias");
    tensors
        .insert("language_model.model.layers.9.mlp.up_proj.weight".to_owned(), Tensor::zeros([1], options));
    tensors.insert("language_model.lm_head.weight".to_owned(), Tensor::zeros([2, 2], options));
    let error = Backbone::from_tensors(small(), tensors).err().expect("refused");
    let mismatch = error.downcast_ref::<Mismatch>().expect("a mismatch");
    assert_eq!(mismatch.missing, ["language_model.model.norm.weight", "multi_modal_projector.linear_1.bias"]);
    assert_eq!(mismatch.unexpected, ["language_model.model.layers.9.mlp.up_proj.weight"]);
    assert_eq!(mismatch.misshapen, [("language_model.lm_head.weight".to_owned(), vec![2, 2], vec![40, 16])]);
    let text = error.to_string();
    assert!(text.contains("missing: language_model.model.norm.weight") && text.contains("hint:"), "{text}");
}

#[test]
fn a_backbone_survives_the_disk_in_one_file_and_in_shards() {
    let folder = tempfile::tempdir().expect("a folder");
    let backbone = backbone();
    std::fs::write(folder.path().join("config.json"), serde_json::to_string(&small()).expect("text"))
        .expect("written");
    weights::save(&folder.path().join("model.safetensors"), backbone.parameters(), None).expect("saved");
    let input = || batch(&[(ids(3, 1), Some(picture(1)))], Padding::Right);
    let expected = backbone.hidden(&input(), &Frozen, None).expect("hidden");
    let loaded = Backbone::load(folder.path(), Device::Cpu, Kind::Float).expect("loads");
    assert_eq!(loaded.hidden(&input(), &Frozen, None).expect("hidden"), expected);

    let (mut first, mut second) = (shallow(&backbone), BTreeMap::new());
    let moved = first.remove("language_model.lm_head.weight").expect("there");
    second.insert("language_model.lm_head.weight".to_owned(), moved);
    let map: BTreeMap<&String, &str> = first
        .keys()
        .map(|name| (name, "a.safetensors"))
        .chain(second.keys().map(|name| (name, "b.safetensors")))
        .collect();
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    std::fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).expect("written");
    weights::save(&folder.path().join("a.safetensors"), &first, Some(Kind::Half)).expect("saved");
    weights::save(&folder.path().join("b.safetensors"), &second, Some(Kind::Half)).expect("saved");
    let halved = Backbone::load(folder.path(), Device::Cpu, Kind::Float).expect("loads");
    assert_eq!(halved.kind(), Kind::Float);
    assert!(largest_difference(&halved.hidden(&input(), &Frozen, None).expect("hidden"), &expected) < 0.05);
}

#[test]
fn a_sequence_longer_than_the_model_is_refused() {
    let input = batch(&[(vec![5; 65], None)], Padding::Right);
    let message = backbone().hidden(&input, &Frozen, None).expect_err("refused").to_string();
    assert!(message.contains("65 tokens") && message.contains("64 positions"), "{message}");
}

#[test]
fn the_built_in_backbone_names_what_it_sees() {
    let (backbone, tokenizer) = Backbone::builtin_tiny(Device::Cpu, Kind::Float).expect("built in");
    let template = Template::named("tiny").expect("known");
    let image_tokens = backbone.config().image_tokens() as usize;
    let prompter =
        Prompter::new(template, &tokenizer, backbone.config().image_token_index, image_tokens).expect("fits");
    // Far behind what pre-training has seen.
    let samples: Vec<_> = (0..200u64)
        .map(|index| captions::sample((1 << 50) + index))
        .filter(|sample| sample.prompt == "name it" || sample.prompt == "read")
        .collect();
    assert!(samples.len() > 5);
    let prompts: Vec<Prompt> = samples
        .iter()
        .map(|sample| {
            let pixels = Transform::tiny().apply(&sample.picture).expect("pixels");
            let features =
                backbone.image_features(&Tensor::from_slice(&pixels).view([1, 3, 64, 64])).expect("features");
            let input_ids = prompter.prompt(&sample.prompt, true).expect("encodes");
            Prompt { input_ids, image_features: Some(features.get(0)) }
        })
        .collect();
    let config = GenerationConfig {
        max_new_tokens: 4,
        batch_size: 16,
        end_token: prompter.end_token(),
        strict: false,
    };
    let answers = generate(&backbone, &Frozen, &prompts, &config, &mut Beginning::default(), &mut |_| ())
        .expect("answers");
    let right = samples
        .iter()
        .zip(answers)
        .filter(|(sample, answer)| tokenizer.decode(answer).expect("text") == sample.answer)
        .count();
    assert!(2 * right > samples.len(), "{right} of {}", samples.len());
}
