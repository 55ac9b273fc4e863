//! The registry: every tensor that lasts lives with the host and is registered here.

use crate::abi::{Context, RawInit, RawParameterSpec, RawSite};
use crate::error::Result;
use crate::tensor::{Tensor, host, received, received_optional};

/// The number of a registered tensor. Keep these across calls, never tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ParameterId(pub u64);

/// A part of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Language model.
    Language,
    /// Projector between vision tower and language model.
    Projector,
    /// Vision tower.
    Vision,
}

/// A linear of the model that an adapter may change: `output = input W^T + bias`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// Its number in the model.
    pub index: usize,
    /// Its checkpoint path, for example `language_model.model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// The last part of the path, as in PEFT's `target_modules`.
    pub module: String,
    /// Where it is.
    pub part: Part,
    /// Input features.
    pub in_features: i64,
    /// Output features.
    pub out_features: i64,
}

/// Sizes of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// Width of the language model.
    pub hidden_size: i64,
    /// Decoder layers.
    pub layers: usize,
    /// Vocabulary entries.
    pub vocabulary: usize,
    /// Width of pooled image features.
    pub image_features: i64,
    /// Width of pooled text features.
    pub text_features: i64,
}

/// How a registered tensor starts. Draws come from a stream named by the tensor, so no other tensor changes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value.
    Constant(f64),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// Half the width.
        bound: f64,
    },
}

impl Init {
    /// Zeros.
    pub const ZEROS: Init = Init::Constant(0.0);
    /// Ones.
    pub const ONES: Init = Init::Constant(1.0);

    /// The initialisation of PyTorch's linear layers and of LoRA's `A`: Kaiming uniform with `a = sqrt(5)`, which is uniform with
    /// bound `1 / sqrt(fan_in)` (He et al. 2015).
    pub fn kaiming_uniform(fan_in: i64) -> Init {
        Init::Uniform { bound: 1.0 / (fan_in.max(1) as f64).sqrt() }
    }
}

/// A tensor to register. Start from [`Registration::parameter`] or [`Registration::buffer`].
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    name: String,
    site: Option<usize>,
    buffer: bool,
    shape: Vec<i64>,
    init: Init,
    trainable: bool,
    learning_rate_scale: f64,
    weight_decay: Option<f64>,
}

impl Registration {
    /// A float32 parameter that the optimizer trains.
    pub fn parameter(name: impl Into<String>, shape: &[i64], init: Init) -> Registration {
        Registration {
            name: name.into(),
            site: None,
            buffer: false,
            shape: shape.to_vec(),
            init,
            trainable: true,
            learning_rate_scale: 1.0,
            weight_decay: None,
        }
    }

    /// A float32 buffer: saved and restored, never trained.
    pub fn buffer(name: impl Into<String>, shape: &[i64], init: Init) -> Registration {
        Registration { buffer: true, trainable: false, ..Registration::parameter(name, shape, init) }
    }

    /// Belongs to a site: the site's adapter call receives it.
    #[must_use]
    pub fn at(mut self, site: &Site) -> Registration {
        self.site = Some(site.index);
        self
    }

    /// Starts frozen.
    #[must_use]
    pub fn frozen(mut self) -> Registration {
        self.trainable = false;
        self
    }

    /// Factor on the run's learning rate.
    #[must_use]
    pub fn learning_rate_scale(mut self, scale: f64) -> Registration {
        self.learning_rate_scale = scale;
        self
    }

    /// Weight decay in place of the run's.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Registration {
        self.weight_decay = Some(weight_decay);
        self
    }
}

/// The model and the tensors of the cell, while a method is built or a stage begins.
pub struct Registry {
    context: Context,
}

impl Registry {
    pub(crate) fn new(context: Context) -> Registry {
        Registry { context }
    }

    /// Sizes of the model.
    pub fn model(&self) -> Result<Model> {
        let raw = (host().registry().model())(self.context).into_result()?;
        Ok(Model {
            hidden_size: raw.hidden_size as i64,
            layers: raw.layers as usize,
            vocabulary: raw.vocabulary as usize,
            image_features: raw.image_features as i64,
            text_features: raw.text_features as i64,
        })
    }

    /// The linears of the model, in order.
    pub fn sites(&self) -> Result<Vec<Site>> {
        let raw = (host().registry().sites())(self.context).into_result()?;
        Ok(raw.into_iter().map(site).collect())
    }

    /// The linears of the language model whose module name is one of `target_modules`; `["all-linear"]` means all of them.
    ///
    /// # Errors
    /// A name that no linear has.
    pub fn target_sites(&self, target_modules: &[String]) -> Result<Vec<Site>> {
        let language: Vec<Site> =
            self.sites()?.into_iter().filter(|site| site.part == Part::Language).collect();
        if target_modules == ["all-linear"] {
            return Ok(language);
        }
        for module in target_modules {
            if !language.iter().any(|site| site.module == *module) {
                let mut known: Vec<&str> = language.iter().map(|site| site.module.as_str()).collect();
                known.sort_unstable();
                known.dedup();
                return Err(crate::Error::config(format!(
                    "target_modules names `{module}`, but the language model has no such linear\nhint: it has {}, or \"all-linear\" for all",
                    known.join(", ")
                )));
            }
        }
        Ok(language.into_iter().filter(|site| target_modules.contains(&site.module)).collect())
    }

    /// The frozen weight of a site, `[out_features, in_features]`. Never written to.
    pub fn site_weight(&self, site: usize) -> Result<Tensor> {
        received((host().registry().site_weight())(self.context, site as u64))
    }

    /// The frozen bias of a site, `[out_features]`, where it has one.
    pub fn site_bias(&self, site: usize) -> Result<Option<Tensor>> {
        received_optional((host().registry().site_bias())(self.context, site as u64))
    }

    /// Registers a tensor. A name that exists (in this stack entry, at this site) gives the tensor that has it.
    ///
    /// # Errors
    /// The name exists with another shape; a size that is not positive; registering in a hook where the set is closed.
    pub fn register(&self, registration: Registration) -> Result<ParameterId> {
        let init = match registration.init {
            Init::Constant(value) => RawInit { kind: 0, a: value, b: 0.0 },
            Init::Normal { std } => RawInit { kind: 1, a: 0.0, b: std },
            Init::Uniform { bound } => RawInit { kind: 2, a: -bound, b: bound },
        };
        let spec = RawParameterSpec {
            name: registration.name.into(),
            site: registration.site.map_or(-1, |site| site as i64),
            role: u32::from(registration.buffer),
            shape: registration.shape.into(),
            init,
            trainable: registration.trainable,
            learning_rate_scale: registration.learning_rate_scale,
            weight_decay: registration.weight_decay.unwrap_or(-1.0),
        };
        Ok(ParameterId((host().registry().register())(self.context, spec).into_result()?))
    }
}

fn site(raw: RawSite) -> Site {
    Site {
        index: raw.index as usize,
        path: raw.path.into_string(),
        module: raw.module.into_string(),
        part: match raw.part {
            0 => Part::Language,
            1 => Part::Projector,
            _ => Part::Vision,
        },
        in_features: raw.in_features as i64,
        out_features: raw.out_features as i64,
    }
}
