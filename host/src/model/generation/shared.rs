//! Beginnings that prompts have in common, read once: the system's sentence of all, and the picture of those that ask about one
//! picture. Right where a token's keys and values depend on the tokens before it alone, as with token-local adapters.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tch::Tensor;

use super::{GenerationConfig, Prompt};
use crate::model::backbone::Backbone;
use crate::model::cache::KeyValueCache;
use crate::model::input::{ModelInput, Padding, Row};
use crate::model::site::LinearHook;

/// A beginning is shared where this part of a batch's tokens need not be read, at least: one in so many.
const WORTH: usize = 8;

/// The picture of a prompt, by the memory of its features.
fn picture(prompt: &Prompt) -> usize {
    prompt.image_features.as_ref().map_or(0, |features| features.data_ptr() as usize)
}

/// Numbers of the prompts: those about one picture together, where pictures come more than once, and of similar length.
pub(super) fn order(prompts: &[Prompt], token_local: bool) -> Vec<usize> {
    let length = |index: usize| prompts[index].input_ids.len();
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    let mut pictures: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (index, prompt) in prompts.iter().enumerate().filter(|(_, prompt)| prompt.image_features.is_some()) {
        // The first prompt of a picture stands for it: addresses differ from run to run.
        pictures.entry(picture(prompt)).or_insert((index, 0)).1 += 1;
    }
    let questions: usize = pictures.values().map(|(_, count)| count).sum();
    if !token_local || questions < 2 * pictures.len() {
        order.sort_by_key(|&index| length(index));
        return order;
    }
    let first = |index: usize| pictures.get(&picture(&prompts[index])).map_or(index, |(first, _)| *first);
    order.sort_by_key(|&index| (length(first(index)), first(index), length(index)));
    order
}

/// Tokens at the beginning that all of these have in common; pictures are told apart where `same_picture` is asked for.
fn common(prompts: &[&Prompt], image_token: i64, same_picture: bool) -> usize {
    let Some((first, others)) = prompts.split_first() else { return 0 };
    let shortest = prompts.iter().map(|prompt| prompt.input_ids.len()).min().unwrap_or(0);
    // The last token of a prompt is read with what is its own.
    let equal = |place: &usize| {
        let token = first.input_ids[*place];
        (same_picture || token != image_token) && others.iter().all(|other| other.input_ids[*place] == token)
    };
    (0..shortest.saturating_sub(1)).take_while(equal).count()
}

/// What the prompts have in common that one model is to answer.
#[derive(Default)]
pub struct Beginning {
    tokens: Vec<i64>,
    /// Of one row; read when it is first needed.
    read: Option<KeyValueCache>,
}

/// The prompts of a batch read up to where each is alone.
pub(super) struct Begun {
    pub(super) cache: KeyValueCache,
    /// The rest of each prompt.
    pub(super) input: ModelInput,
}

impl Beginning {
    /// Turns to these prompts; what was read stays where they begin as those before did.
    pub(super) fn take_up(&mut self, prompts: &[Prompt], image_token: i64) {
        let all: Vec<&Prompt> = prompts.iter().collect();
        let tokens =
            prompts.first().map_or(&[][..], |first| &first.input_ids[..common(&all, image_token, false)]);
        if tokens != self.tokens {
            *self = Beginning { tokens: tokens.to_vec(), read: None };
        }
    }

    /// Reads what the prompts of a batch have in common; none where that is not worth it.
    pub(super) fn read(
        &mut self,
        backbone: &Backbone,
        hook: &dyn LinearHook,
        prompts: &[Prompt],
        batch: &[usize],
        config: &GenerationConfig,
    ) -> Result<Option<Begun>> {
        let rows: Vec<&Prompt> = batch.iter().map(|&index| &prompts[index]).collect();
        let image_token = backbone.config().image_token_index;
        let tokens: usize = rows.iter().map(|prompt| prompt.input_ids.len()).sum();
        let groups = Groups::of(&rows, image_token);
        let by_picture = (rows.len() - groups.first.len()) * groups.length.saturating_sub(self.tokens.len());
        let grouped = by_picture * WORTH >= tokens;
        let saved = (rows.len() - 1) * self.tokens.len() + if grouped { by_picture } else { 0 };
        if saved * WORTH < tokens {
            return Ok(None);
        }
        let longest = rows.iter().map(|prompt| prompt.input_ids.len()).max().unwrap_or(0);
        let capacity = longest + config.max_new_tokens;
        let device = backbone.device();
        let index =
            |places: &[i64]| -> Result<Tensor> { Ok(Tensor::f_from_slice(places)?.f_to_device(device)?) };
        let mut base = None;
        if !self.tokens.is_empty() {
            base = Some(self.of_all(backbone, hook, rows[0], config)?);
        }
        let (cache, begun) = if grouped {
            let count = groups.first.len();
            let mut cache = match base {
                Some(base) => base.spread(&index(&vec![0; count])?, groups.length)?,
                None => backbone.cache(groups.length),
            };
            let firsts: Vec<&Prompt> = groups.first.iter().map(|&row| rows[row]).collect();
            let whole = |_: usize| self.tokens.len()..groups.length;
            let input = part(backbone, &firsts, whole, config)?;
            let last: Vec<i64> =
                (1..=count as i64).map(|row| row * (groups.length - self.tokens.len()) as i64 - 1).collect();
            let _read = backbone.hidden_at(&input, &last, hook, Some(&mut cache))?;
            (cache.spread(&index(&groups.of_row)?, capacity)?, groups.length)
        } else {
            let base = base.context("a beginning that is worth reading has tokens")?;
            (base.spread(&index(&vec![0; rows.len()])?, capacity)?, self.tokens.len())
        };
        let mut input = part(backbone, &rows, |row| begun..rows[row].input_ids.len(), config)?;
        input.rows = batch.to_vec();
        Ok(Some(Begun { cache, input }))
    }

    /// The beginning of all prompts, of which this is one.
    fn of_all(
        &mut self,
        backbone: &Backbone,
        hook: &dyn LinearHook,
        prompt: &Prompt,
        config: &GenerationConfig,
    ) -> Result<&KeyValueCache> {
        if self.read.is_none() {
            let mut cache = backbone.cache(self.tokens.len());
            let input = part(backbone, &[prompt], |_| 0..self.tokens.len(), config)?;
            let _read =
                backbone.hidden_at(&input, &[self.tokens.len() as i64 - 1], hook, Some(&mut cache))?;
            self.read = Some(cache);
        }
        self.read.as_ref().context("the beginning was just read")
    }
}

/// Rows of a batch by picture.
struct Groups {
    /// The first row of each.
    first: Vec<usize>,
    /// The group of each row.
    of_row: Vec<i64>,
    /// Tokens at the beginning that are common in every group; zero if some row has no picture.
    length: usize,
}

impl Groups {
    fn of(rows: &[&Prompt], image_token: i64) -> Groups {
        let mut pictures: Vec<usize> = Vec::new();
        let (mut first, mut of_row) = (Vec::new(), Vec::with_capacity(rows.len()));
        for (row, prompt) in rows.iter().enumerate() {
            let picture = picture(prompt);
            let known = pictures.iter().position(|known| *known == picture);
            let group = known.unwrap_or_else(|| {
                pictures.push(picture);
                first.push(row);
                pictures.len() - 1
            });
            of_row.push(group as i64);
        }
        let of_group = |group: usize| -> Vec<&Prompt> {
            rows.iter()
                .zip(&of_row)
                .filter(|(_, of)| **of == group as i64)
                .map(|(prompt, _)| *prompt)
                .collect()
        };
        let mut length = match rows.iter().all(|prompt| prompt.image_features.is_some()) {
            true => {
                (0..first.len()).map(|group| common(&of_group(group), image_token, true)).min().unwrap_or(0)
            }
            false => 0,
        };
        let in_picture =
            |ids: &[i64]| length > 0 && ids[length - 1] == image_token && ids[length] == image_token;
        if rows.iter().any(|prompt| in_picture(&prompt.input_ids)) {
            length = 0;
        }
        Groups { first, of_row, length }
    }
}

/// A batch of parts of prompts, filled up on the left, whose rows have been read up to where the parts begin.
fn part(
    backbone: &Backbone,
    rows: &[&Prompt],
    places: impl Fn(usize) -> std::ops::Range<usize>,
    config: &GenerationConfig,
) -> Result<ModelInput> {
    let image_token = backbone.config().image_token_index;
    let listed: Vec<Row> = rows
        .iter()
        .enumerate()
        .map(|(row, prompt)| {
            let input_ids = &prompt.input_ids[places(row)];
            // A picture is in one part as a whole.
            let shown = input_ids.contains(&image_token);
            Row { input_ids, image_features: prompt.image_features.as_ref().filter(|_| shown) }
        })
        .collect();
    let mut input =
        ModelInput::batch(&listed, Padding::Left, image_token, config.end_token, backbone.device())?;
    let begun = places(0).start as i64;
    if begun > 0 {
        let ones = input
            .attention_mask
            .f_new_ones([rows.len() as i64, begun], (tch::Kind::Int64, backbone.device()))?;
        input.attention_mask = Tensor::f_cat(&[&ones, &input.attention_mask], 1)?;
        input.position_ids = input.position_ids.f_add_scalar(begun)?;
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::config::tests::small;
    use crate::model::generation::generate;
    use crate::model::site::{Pass, Phase, Site, product};

    /// Counts the tokens of prompts that are read, filling included.
    struct Counting {
        tokens: Cell<i64>,
        token_local: bool,
    }

    impl LinearHook for Counting {
        fn linear(&self, _: &Site, weight: &Tensor, bias: Option<&Tensor>, input: &Tensor) -> Result<Tensor> {
            Ok(product(input, weight, bias)?)
        }

        fn begin(&self, pass: &Pass) -> Result<()> {
            // Each batch announces itself as a whole first, when soft tokens are asked for; that is not a reading.
            if pass.phase == Phase::Prefill {
                self.tokens.set(self.tokens.get() + pass.input.input_ids.numel() as i64);
            }
            Ok(())
        }

        fn is_token_local(&self) -> bool {
            self.token_local
        }
    }

    fn features(backbone: &Backbone, seed: i64) -> Tensor {
        let pixels =
            (Tensor::arange(3 * 16 * 16, (tch::Kind::Float, tch::Device::Cpu)) * (seed + 1) as f64).sin();
        backbone.image_features(&pixels.view([1, 3, 16, 16])).expect("features").get(0)
    }

    /// A system's sentence, a picture, a question of some words.
    fn prompt(picture: &Tensor, words: &[i64]) -> Prompt {
        let input_ids = [&[1, 20, 21, 22, 23, 24, 3, 3, 3, 3, 25], words].concat();
        Prompt { input_ids, image_features: Some(picture.shallow_clone()) }
    }

    fn answers(backbone: &Backbone, hook: &Counting, prompts: &[Prompt], batch_size: usize) -> Vec<Vec<i64>> {
        let config = GenerationConfig { max_new_tokens: 5, batch_size, end_token: 0, strict: false };
        generate(backbone, hook, prompts, &config, &mut Beginning::default(), &mut |_| ()).expect("answers")
    }

    #[test]
    fn what_prompts_have_in_common_is_read_once_and_answers_stay() {
        let backbone = Backbone::random(small(), 11).expect("a model");
        let (first, second) = (features(&backbone, 1), features(&backbone, 2));
        let questions: [&[i64]; 4] = [&[30], &[31, 32, 33], &[31, 34], &[35, 36, 37, 38]];
        let mut prompts: Vec<Prompt> = Vec::new();
        for words in questions {
            prompts.push(prompt(&first, words));
            prompts.push(prompt(&second, words));
        }
        let whole = Counting { tokens: Cell::new(0), token_local: false };
        let alone: Vec<_> = prompts
            .iter()
            .flat_map(|prompt| {
                let one = Prompt {
                    input_ids: prompt.input_ids.clone(),
                    image_features: prompt.image_features.as_ref().map(Tensor::shallow_clone),
                };
                answers(&backbone, &whole, &[one], 1)
            })
            .collect();
        let shared = Counting { tokens: Cell::new(0), token_local: true };
        assert_eq!(answers(&backbone, &shared, &prompts, 8), alone);
        // Announced: 8 x 15. Read: 6 for all, 5 for each picture, 4 for each row.
        assert_eq!(shared.tokens.get(), 8 * 15 + 6 + 2 * 5 + 8 * 4);
        shared.tokens.set(0);
        assert_eq!(answers(&backbone, &shared, &prompts, 3), alone);
        let three = shared.tokens.get();
        assert!(three < 8 * 15 + 6 + 4 * 5 + 8 * 4 + 8, "{three}");
    }

    #[test]
    fn a_beginning_is_read_again_only_where_it_is_another_one() {
        let backbone = Backbone::random(small(), 14).expect("a model");
        let pictures: Vec<Tensor> = (1..=2).map(|seed| features(&backbone, seed)).collect();
        let asked = |words: &[i64]| -> Vec<Prompt> {
            pictures.iter().map(|picture| prompt(picture, words)).collect()
        };
        let other = |words: &[i64]| -> Vec<Prompt> {
            let mut prompts = asked(words);
            prompts.iter_mut().for_each(|prompt| prompt.input_ids[1] += 1);
            prompts
        };
        let hook = Counting { tokens: Cell::new(0), token_local: true };
        let config = GenerationConfig { max_new_tokens: 5, batch_size: 2, end_token: 0, strict: false };
        let mut beginning = Beginning::default();
        let mut read = |prompts: &[Prompt]| {
            hook.tokens.set(0);
            let found = generate(&backbone, &hook, prompts, &config, &mut beginning, &mut |_| ());
            let tokens = hook.tokens.get();
            assert_eq!(found.expect("answers"), answers(&backbone, &hook, prompts, 2));
            tokens
        };
        let first = read(&asked(&[30, 31]));
        assert_eq!(read(&asked(&[32, 33])), first - 6);
        assert_eq!(read(&other(&[32, 33])), first);
        assert_eq!(read(&asked(&[30, 31])), first);
    }

    #[test]
    fn pictures_that_differ_share_what_stands_before_them_only() {
        let backbone = Backbone::random(small(), 12).expect("a model");
        let pictures: Vec<Tensor> = (1..=3).map(|seed| features(&backbone, seed)).collect();
        let prompts: Vec<Prompt> = pictures.iter().map(|picture| prompt(picture, &[30, 31])).collect();
        let shared = Counting { tokens: Cell::new(0), token_local: true };
        let found = answers(&backbone, &shared, &prompts, 3);
        assert_eq!(shared.tokens.get(), 3 * 13 + 6 + 3 * 7);
        let one = |picture| answers(&backbone, &shared, &[prompt(picture, &[30, 31])], 1).remove(0);
        assert_eq!(found, pictures.iter().map(one).collect::<Vec<_>>());
    }

    #[test]
    fn a_row_without_a_picture_and_a_prompt_that_ends_in_one_are_read_whole() {
        let backbone = Backbone::random(small(), 13).expect("a model");
        let picture = features(&backbone, 1);
        let ending = |picture: &Tensor| Prompt {
            input_ids: vec![1, 3, 3, 3, 3],
            image_features: Some(picture.shallow_clone()),
        };
        let mut prompts = vec![ending(&picture), ending(&picture)];
        let hook = Counting { tokens: Cell::new(0), token_local: true };
        let alone = answers(&backbone, &hook, &[ending(&picture)], 1).remove(0);
        assert_eq!(answers(&backbone, &hook, &prompts, 2), [alone.clone(), alone.clone()]);
        prompts.push(Prompt { input_ids: vec![1, 30, 31], image_features: None });
        assert_eq!(answers(&backbone, &hook, &prompts, 3)[..2], [alone.clone(), alone]);
    }
}
