//! What services tell of model, batch and position, in the border's terms.

use anyhow::{Context as _, Result, bail};
use coin_plugin_api::Need;
use coin_plugin_api::abi::{RawModel, RawSite, RawStep};
use tch::{Kind, Tensor, no_grad};

use crate::data::collate::TrainingBatch;
use crate::data::prompt::IGNORED;
use crate::model::{Backbone, Images, Part};
use crate::train::cell::Cell;
use crate::train::parameters::copied;

const EMBEDDING: &str = "language_model.model.embed_tokens.weight";

pub(super) fn model(backbone: &Backbone) -> RawModel {
    let text = &backbone.config().text_config;
    RawModel {
        hidden_size: text.hidden_size as u64,
        layers: text.num_hidden_layers as u64,
        vocabulary: text.vocab_size as u64,
        image_features: backbone.config().image_feature_size() as u64,
        text_features: text.hidden_size as u64,
    }
}

pub(super) fn sites(backbone: &Backbone) -> Vec<RawSite> {
    let site = |site: &crate::model::Site| RawSite {
        index: site.index as u64,
        path: site.path.as_str().into(),
        module: site.module.as_str().into(),
        part: match site.part {
            Part::Language => 0,
            Part::Projector => 1,
            Part::Vision => 2,
        },
        in_features: site.in_features as u64,
        out_features: site.out_features as u64,
    };
    backbone.sites().iter().map(site).collect()
}

pub(super) fn site_weight(backbone: &Backbone, site: u64) -> Result<Tensor> {
    let site =
        backbone.sites().get(site as usize).with_context(|| format!("no site has the number {site}"))?;
    // A copy, so that no plugin can write to the shared base.
    copied(backbone.site_parameters(site)?.0)
}

pub(super) fn site_bias(backbone: &Backbone, site: u64) -> Result<Option<Tensor>> {
    let site =
        backbone.sites().get(site as usize).with_context(|| format!("no site has the number {site}"))?;
    backbone.site_parameters(site)?.1.map(copied).transpose()
}

pub(super) fn step(cell: &Cell, phase: u32, rows: usize) -> RawStep {
    let at = cell.position.get();
    RawStep {
        phase,
        stage: at.stage as u64,
        step: at.step as u64,
        steps: at.steps as u64,
        micro_batch: at.micro_batch as u64,
        rows: rows as u64,
    }
}

/// `[B, T]`, 1 where the next token is supervised.
pub(super) fn label_mask(batch: &TrainingBatch) -> Result<Tensor> {
    let (rows, columns) = batch.labels.size2()?;
    let mut mask = vec![0i64; (rows * columns) as usize];
    for &position in &batch.positions {
        mask[position as usize] = 1;
    }
    Ok(Tensor::f_from_slice(&mask)?.f_view([rows, columns])?.f_to_device(batch.labels.device())?)
}

/// Mean over the visual tokens of each row, `[B, d_v]`; rows without a picture are zero.
pub(super) fn pooled_images(
    backbone: &Backbone,
    images: Option<&Images>,
    (rows, columns): (i64, i64),
) -> Result<Tensor> {
    no_grad(|| {
        let Some(images) = images else {
            let width = backbone.config().image_feature_size();
            return Ok(Tensor::f_zeros([rows, width], (Kind::Float, backbone.device()))?);
        };
        let means = images.features.f_to_kind(Kind::Float)?.f_mean_dim(1i64, false, Kind::Float)?;
        let width = means.size2()?.1;
        let row = image_rows(images, columns)?;
        let zeros = Tensor::f_zeros([rows, width], (Kind::Float, means.device()))?;
        Ok(zeros.f_index_copy(0, &row, &means)?)
    })
}

/// The row of each picture, `[n]`, in a batch of so many columns.
pub(super) fn image_rows(images: &Images, columns: i64) -> Result<Tensor> {
    let count = images.features.size3()?.0;
    let each = images.positions.size1()? / count;
    let first = images.positions.f_view([count, each])?.f_select(1, 0)?;
    Ok(first.f_div_scalar_mode(columns, "floor")?)
}

/// The stage of each row's sample, `[B]`.
pub(super) fn row_stages(cell: &Cell, batch: &TrainingBatch) -> Result<Tensor> {
    let stages: Vec<i64> =
        batch.samples.iter().map(|sample| cell.stage_of(*sample)).collect::<Result<_>>()?;
    Ok(Tensor::f_from_slice(&stages)?.f_to_device(cell.world.backbone.device())?)
}

/// Mean embedding of each row's prompt tokens, `[B, d]`: neither pictures nor answers count.
pub(super) fn pooled_text(
    backbone: &Backbone,
    input_ids: &Tensor,
    batch: Option<&TrainingBatch>,
    attention_mask: &Tensor,
) -> Result<Tensor> {
    no_grad(|| {
        let (embedded, weights) = embedded_prompt(backbone, input_ids, batch, attention_mask)?;
        let rows = input_ids.size2()?.0;
        let sum = embedded.f_sum_dim_intlist(1i64, false, Kind::Float)?;
        let count = weights.f_sum_dim_intlist(1i64, false, Kind::Float)?.f_clamp_min(1.0)?;
        Ok(sum.f_div(&count.f_view([rows, 1])?)?)
    })
}

/// Token embeddings of the prompts `[B, T, d]`, zero at visual tokens, filling and answers.
pub(super) fn prompt_embeddings(
    backbone: &Backbone,
    input_ids: &Tensor,
    batch: Option<&TrainingBatch>,
    attention_mask: &Tensor,
) -> Result<Tensor> {
    no_grad(|| Ok(embedded_prompt(backbone, input_ids, batch, attention_mask)?.0))
}

/// Embeddings `[B, T, d]`, zero where no text of the prompt stands, and 1 where some does, `[B, T]`.
fn embedded_prompt(
    backbone: &Backbone,
    input_ids: &Tensor,
    batch: Option<&TrainingBatch>,
    attention_mask: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let embedding = backbone.parameters().get(EMBEDDING).context("the backbone has no token embedding")?;
    let mask = attention_mask.f_narrow(1, 0, input_ids.size2()?.1)?.f_ne(0)?;
    let mut text = mask.f_logical_and(&input_ids.f_ne(backbone.config().image_token_index)?)?;
    if let Some(batch) = batch {
        text = text.f_logical_and(&batch.labels.f_eq(IGNORED)?)?;
    }
    let weights = text.f_to_kind(Kind::Float)?;
    let ids = backbone.with_rows(input_ids)?;
    let embedded = Tensor::f_embedding(&embedding.f_to_kind(Kind::Float)?, &ids, -1, false, false)?;
    Ok((embedded.f_mul(&weights.f_unsqueeze(2)?)?, weights))
}

/// Refuses what a plugin did not declare or the protocol does not grant; counts what is granted.
pub(super) fn granted(cell: &Cell, entry: usize, need: Need) -> Result<()> {
    let Some(known) = cell.entries.get(entry) else { return Ok(()) };
    if known.grants.contains(&need) {
        *cell.granted.borrow_mut().entry((entry, need)).or_default() += 1;
        return Ok(());
    }
    cell.refused.borrow_mut().insert((entry, need));
    bail!(
        "plugin `{}` uses `{}`, which it was not granted\nhint: declare it in the plugin's `needs`, and let `[protocol]` grant it",
        known.plugin,
        need.name()
    )
}
