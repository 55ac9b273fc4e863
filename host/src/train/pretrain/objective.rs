//! The two losses of pre-training, over a backbone whose weights ask for gradients.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tch::{Kind, Reduction, Tensor, no_grad};

use super::samples::Sample;
use crate::data::collate::TrainingBatch;
use crate::data::prompt::Example;
use crate::model::{Backbone, Frozen};

/// Path of the linear from visual tokens to words, which only the first stage needs.
pub const WORD_HEAD: &str = "word_head";

/// A backbone in training.
pub struct Learner {
    backbone: Backbone,
    all: BTreeMap<String, Tensor>,
    pad: i64,
}

impl Learner {
    /// The projector's weights ask for gradients from here on, and no others.
    pub fn projector(backbone: Backbone, pad: i64) -> Result<Learner> {
        let mut all = BTreeMap::new();
        for (name, tensor) in backbone.parameters() {
            if name.starts_with("multi_modal_projector.") {
                let _ = tensor.f_set_requires_grad(true)?;
                all.insert(name.clone(), tensor.shallow_clone());
            }
        }
        Ok(Learner { backbone, all, pad })
    }

    /// All weights of `backbone` ask for gradients from here on.
    pub fn new(backbone: Backbone, pad: i64) -> Result<Learner> {
        let mut all: BTreeMap<String, Tensor> =
            backbone.parameters().iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        let (width, vocabulary) =
            (backbone.config().image_feature_size(), backbone.config().text_config.vocab_size);
        let options = (Kind::Float, backbone.device());
        all.insert(format!("{WORD_HEAD}.weight"), Tensor::f_zeros([vocabulary, width], options)?);
        // Few words describe a picture: begin near "none".
        all.insert(format!("{WORD_HEAD}.bias"), Tensor::f_full([vocabulary], -6.0, options)?);
        for tensor in all.values() {
            let _ = tensor.f_set_requires_grad(true)?;
        }
        Ok(Learner { backbone, all, pad })
    }

    /// The backbone, with its weights as they are now.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// Everything that is trained, by name.
    pub fn all(&self) -> &BTreeMap<String, Tensor> {
        &self.all
    }

    /// Copies saved values into the weights.
    pub fn restore(&mut self, saved: &BTreeMap<String, Tensor>) -> Result<()> {
        ensure!(
            saved.len() == self.all.len(),
            "the checkpoint belongs to another model\nhint: use an empty --out"
        );
        for (name, tensor) in &mut self.all {
            let value = saved.get(name).with_context(|| format!("the checkpoint lacks `{name}`"))?;
            ensure!(value.size() == tensor.size(), "the checkpoint's `{name}` has another shape");
            no_grad(|| tensor.f_copy_(value))?;
        }
        Ok(())
    }

    /// `[B, N, V]`: the score of each word at each visual token.
    pub fn word_scores(&self, batch: &[Sample]) -> Result<Tensor> {
        let features = self.backbone.image_features_with(&self.pixels(batch)?, &Frozen)?;
        let (weight, bias) =
            (&self.all[&format!("{WORD_HEAD}.weight")], &self.all[&format!("{WORD_HEAD}.bias")]);
        Ok(features.f_linear(weight, Some(bias))?)
    }

    /// Binary cross entropy of the words of a picture, from the log-sum-exp over its visual tokens, plus that of the
    /// words of each part; summed over words, averaged over pictures.
    pub fn words(&self, batch: &[Sample]) -> Result<Tensor> {
        let scores = self.word_scores(batch)?;
        let (rows, tokens, vocabulary) = scores.size3()?;
        let mut whole = vec![0f32; (rows * vocabulary) as usize];
        let mut parts = vec![0f32; (rows * tokens * vocabulary) as usize];
        for (row, sample) in batch.iter().enumerate() {
            for &word in &sample.words {
                whole[row * vocabulary as usize + word] = 1.0;
            }
            for &(token, word) in &sample.parts {
                parts[(row * tokens as usize + token) * vocabulary as usize + word] = 1.0;
            }
        }
        let device = self.backbone.device();
        let whole = Tensor::f_from_slice(&whole)?.f_view([rows, vocabulary])?.f_to_device(device)?;
        let parts = Tensor::f_from_slice(&parts)?.f_view([rows, tokens, vocabulary])?.f_to_device(device)?;
        let entropy = |scores: &Tensor, target: &Tensor, count: i64| -> Result<Tensor> {
            let sum = scores.f_binary_cross_entropy_with_logits(
                target,
                None::<&Tensor>,
                None::<&Tensor>,
                Reduction::Sum,
            )?;
            Ok(sum.f_div_scalar(count)?)
        };
        let presence = entropy(&scores.f_logsumexp([1i64], false)?, &whole, rows)?;
        Ok(presence.f_add(&entropy(&scores, &parts, rows * tokens)?)?)
    }

    /// Cross entropy of the answers' tokens.
    pub fn answers(&self, batch: &[Sample]) -> Result<Tensor> {
        let (logits, targets, _) = self.answer_logits(batch)?;
        Ok(logits.f_cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, -100, 0.0)?)
    }

    /// Logits `[K, V]` and tokens `[K]` of all answers, and each one's row.
    pub fn answer_logits(&self, batch: &[Sample]) -> Result<(Tensor, Tensor, Vec<usize>)> {
        let features = self.backbone.image_features_with(&self.pixels(batch)?, &Frozen)?.f_unbind(0)?;
        let rows: Vec<(&Example, Option<&Tensor>)> =
            batch.iter().zip(&features).map(|(sample, features)| (&sample.example, Some(features))).collect();
        let image_token = self.backbone.config().image_token_index;
        let batch = TrainingBatch::new(&rows, image_token, self.pad, self.backbone.device())?;
        let hidden = self.backbone.hidden_at(&batch.input, &batch.positions, &Frozen, None)?;
        let columns = batch.input.input_ids.size2()?.1;
        let owners = batch.positions.iter().map(|position| (position / columns) as usize).collect();
        Ok((self.backbone.logits(&hidden)?, batch.targets, owners))
    }

    fn pixels(&self, batch: &[Sample]) -> Result<Tensor> {
        let vision = &self.backbone.config().vision_config;
        let values: Vec<f32> = batch.iter().flat_map(|sample| sample.pixels.iter().copied()).collect();
        let shape = [batch.len() as i64, vision.num_channels, vision.image_size, vision.image_size];
        Ok(Tensor::f_from_slice(&values)?.f_view(shape)?.f_to_device(self.backbone.device())?)
    }
}
