//! EfficientNet-Lite0's published weights, with each batch normalisation folded into the convolution before it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tch::Tensor;

use crate::model::efficientnet::{self, Convolution};
use crate::model::torch_file::{self, Stored};

/// The tower's tensors, float32, from the bytes of the `.pth` file.
pub(super) fn tensors(file: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let published = torch_file::read(file)?;
    let mut tensors = BTreeMap::new();
    for convolution in efficientnet::convolutions() {
        let (weight, norm) = published_names(&convolution.path)
            .with_context(|| format!("convolution `{}` has no published name", convolution.path))?;
        let (folded, bias) = folded(&published, &convolution, &weight, &norm)?;
        tensors
            .insert(convolution.name("weight"), Tensor::f_from_slice(&folded)?.f_view(convolution.shape())?);
        tensors.insert(convolution.name("bias"), Tensor::f_from_slice(&bias)?);
    }
    Ok(tensors)
}

/// Names of a convolution and of its normalisation in the file.
pub(super) fn published_names(path: &str) -> Option<(String, String)> {
    Some(match path {
        "stem" => (String::from("_conv_stem.weight"), String::from("_bn0")),
        "head" => (String::from("_conv_head.weight"), String::from("_bn1")),
        _ => {
            let (block, part) = path.strip_prefix("blocks.")?.split_once('.')?;
            let norm = match part {
                "expand" => "_bn0",
                "depthwise" => "_bn1",
                "project" => "_bn2",
                _ => return None,
            };
            (format!("_blocks.{block}._{part}_conv.weight"), format!("_blocks.{block}.{norm}"))
        }
    })
}

/// `w g / sqrt(v + e)` and `b - m g / sqrt(v + e)` for each output channel.
fn folded(
    published: &BTreeMap<String, Stored>,
    convolution: &Convolution,
    weight: &str,
    norm: &str,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let find = |name: &str, shape: &[i64]| -> Result<&Vec<f32>> {
        let hint = "hint: this is not the published EfficientNet-Lite0";
        let found =
            published.get(name).with_context(|| format!("the file has no tensor `{name}`\n{hint}"))?;
        let sizes: Vec<i64> = found.shape.iter().map(|&size| size as i64).collect();
        ensure!(sizes == shape, "tensor `{name}` has shape {sizes:?}, and {shape:?} is expected\n{hint}");
        Ok(&found.values)
    };
    let statistic = |part: &str| find(&format!("{norm}.{part}"), &[convolution.to]);
    let (gain, shift) = (statistic("weight")?, statistic("bias")?);
    let (mean, variance) = (statistic("running_mean")?, statistic("running_var")?);
    let weight = find(weight, &convolution.shape())?;
    let scales: Vec<f64> = gain
        .iter()
        .zip(variance)
        .map(|(&gain, &variance)| f64::from(gain) / (f64::from(variance) + efficientnet::EPSILON).sqrt())
        .collect();
    let inner = weight.len() / scales.len().max(1);
    let scaled = weight
        .chunks(inner.max(1))
        .zip(&scales)
        .flat_map(|(channel, scale)| channel.iter().map(move |&value| (f64::from(value) * scale) as f32));
    let bias = scales.iter().zip(shift).zip(mean);
    let bias = bias.map(|((scale, &shift), &mean)| (f64::from(shift) - f64::from(mean) * scale) as f32);
    Ok((scaled.collect(), bias.collect()))
}
