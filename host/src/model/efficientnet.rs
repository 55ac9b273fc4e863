//! EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946; the Lite variant of tensorflow/tpu: no squeeze-and-excitation, ReLU6) without
//! its classification head: a grid of visual tokens, one for each 32 x 32 pixels. Batch normalisation is folded into the convolutions.

use anyhow::Result;
use tch::Tensor;

use super::backbone::Weights;

/// `vision_config.model_type` of a checkpoint with this tower.
pub const MODEL_TYPE: &str = "efficientnet_lite0";
/// Channels of a visual token.
pub const WIDTH: i64 = 1_280;
/// Pixels from one visual token to the next.
pub const STRIDE: i64 = 32;
/// Beneath the variance, in every batch normalisation.
pub const EPSILON: f64 = 1e-3;

const ROOT: &str = "vision_tower.vision_model";
const STEM_CHANNELS: i64 = 32;

/// Repeats, kernel, stride of the first, expansion, channels.
const STAGES: [(usize, i64, i64, i64, i64); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];

/// A convolution with a bias, `[to, from / groups, kernel, kernel]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Below `vision_tower.vision_model`, such as `blocks.3.depthwise`.
    pub path: String,
    pub from: i64,
    pub to: i64,
    pub kernel: i64,
    pub stride: i64,
    pub groups: i64,
    /// ReLU6 follows.
    pub is_activated: bool,
}

impl Convolution {
    fn new(path: String, from: i64, to: i64, kernel: i64, stride: i64) -> Convolution {
        Convolution { path, from, to, kernel, stride, groups: 1, is_activated: true }
    }

    /// Shape of the weight.
    pub fn shape(&self) -> [i64; 4] {
        [self.to, self.from / self.groups, self.kernel, self.kernel]
    }

    /// Name of the weight or the bias in a checkpoint.
    pub fn name(&self, part: &str) -> String {
        format!("{ROOT}.{}.{part}", self.path)
    }
}

/// The convolutions between two places that a shortcut may join.
struct Block {
    convolutions: Vec<Convolution>,
    is_residual: bool,
}

fn blocks() -> Vec<Block> {
    let plain = |convolution| Block { convolutions: vec![convolution], is_residual: false };
    let mut blocks = vec![plain(Convolution::new(String::from("stem"), 3, STEM_CHANNELS, 3, 2))];
    let mut from = STEM_CHANNELS;
    for (repeats, kernel, first, expansion, to) in STAGES {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { first } else { 1 };
            let (path, wide) = (format!("blocks.{}", blocks.len() - 1), from * expansion);
            let mut convolutions = Vec::new();
            if expansion > 1 {
                convolutions.push(Convolution::new(format!("{path}.expand"), from, wide, 1, 1));
            }
            let depthwise = Convolution::new(format!("{path}.depthwise"), wide, wide, kernel, stride);
            convolutions.push(Convolution { groups: wide, ..depthwise });
            let project = Convolution::new(format!("{path}.project"), wide, to, 1, 1);
            convolutions.push(Convolution { is_activated: false, ..project });
            blocks.push(Block { convolutions, is_residual: stride == 1 && from == to });
            from = to;
        }
    }
    blocks.push(plain(Convolution::new(String::from("head"), from, WIDTH, 1, 1)));
    blocks
}

/// All convolutions in the order of the forward pass.
pub fn convolutions() -> Vec<Convolution> {
    blocks().into_iter().flat_map(|block| block.convolutions).collect()
}

/// The tower.
pub(super) struct EfficientNet {
    /// Weight and bias of each convolution, in order.
    blocks: Vec<(Block, Vec<(Tensor, Tensor)>)>,
}

impl EfficientNet {
    pub(super) fn new(weights: &Weights) -> Result<EfficientNet> {
        let pair = |convolution: &Convolution| {
            Ok((weights.tensor(&convolution.name("weight"))?, weights.tensor(&convolution.name("bias"))?))
        };
        let with_tensors = |block: Block| {
            let tensors: Result<_> = block.convolutions.iter().map(pair).collect();
            Ok((block, tensors?))
        };
        Ok(EfficientNet { blocks: blocks().into_iter().map(with_tensors).collect::<Result<_>>()? })
    }

    /// `[B, 3, H, W]` to the visual tokens `[B, N, 1280]`, row by row.
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut grid = pixels.shallow_clone();
        for (block, tensors) in &self.blocks {
            let input = grid.shallow_clone();
            for (convolution, (weight, bias)) in block.convolutions.iter().zip(tensors) {
                grid = convolution.forward(&grid, weight, bias)?;
            }
            if block.is_residual {
                grid = grid.f_add(&input)?;
            }
        }
        Ok(grid.f_flatten(2, 3)?.f_transpose(1, 2)?.f_contiguous()?)
    }
}

impl Convolution {
    /// With TensorFlow's padding `SAME`: as much as the last window needs, the odd pixel at right and bottom.
    fn forward(&self, input: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = input.size4()?;
        let missing = |size: i64| {
            let windows = (size + self.stride - 1) / self.stride;
            ((windows - 1) * self.stride + self.kernel - size).max(0)
        };
        let (down, across) = (missing(height), missing(width));
        let stride = [self.stride; 2];
        let output = if down % 2 == 0 && across % 2 == 0 {
            input.f_conv2d(weight, Some(bias), stride, [down / 2, across / 2], [1, 1], self.groups)?
        } else {
            let border = [across / 2, across - across / 2, down / 2, down - down / 2];
            let padded = input.f_constant_pad_nd(border)?;
            padded.f_conv2d(weight, Some(bias), stride, [0, 0], [1, 1], self.groups)?
        };
        Ok(if self.is_activated { output.f_clamp(0.0, 6.0)? } else { output })
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn the_tower_has_the_published_size() {
        let all = convolutions();
        assert_eq!(all.len(), 1 + 2 + 15 * 3 + 1);
        let weights: i64 = all.iter().map(|convolution| convolution.shape().iter().product::<i64>()).sum();
        // Without the head of 1,280 x 1,000 + 1,000 and two numbers of each batch normalisation: 4,652,008 in all.
        let normalised: i64 = all.iter().map(|convolution| 2 * convolution.to).sum();
        assert_eq!(weights + normalised + 1_281_000, 4_652_008);
        assert_eq!(blocks().iter().filter(|block| block.is_residual).count(), 9);
    }

    #[test]
    fn padding_is_that_of_tensorflow() {
        let options = (Kind::Float, Device::Cpu);
        let convolution = Convolution::new(String::new(), 1, 1, 3, 2);
        let ones = |shape: &[i64]| Tensor::f_ones(shape, options).unwrap();
        let zero = Tensor::f_zeros([1], options).unwrap();
        let sums = |size: i64| {
            let output =
                convolution.forward(&ones(&[1, 1, size, size]), &ones(&[1, 1, 3, 3]), &zero).unwrap();
            Vec::<f32>::try_from(&output.f_flatten(0, 3).unwrap()).unwrap()
        };
        // Even: one pixel at right and bottom. Odd: one on each side. Sums are clipped at 6.
        assert_eq!(sums(4), [6.0, 6.0, 6.0, 4.0]);
        assert_eq!(sums(3), [4.0; 4]);
    }
}
