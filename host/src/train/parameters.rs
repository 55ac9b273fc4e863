//! All tensors of a cell that last: the trained projector and what plugins registered. Masters are float32.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use coin_plugin_api::abi::{RawInit, RawParameterInfo, RawParameterSpec};
use tch::{Device, Kind, Tensor, no_grad};

use crate::model::{Backbone, Part};
use crate::stream::random::Draws;

/// The owner of the host's own tensors.
pub const HOST: &str = "host";

/// A tensor that lasts.
pub struct Parameter {
    /// `<owner>.<site path>.<name>`, or `<owner>.<name>`.
    pub name: String,
    pub owner: String,
    /// Place in the stack of the plugin that registered it; none for the host's.
    pub entry: Option<usize>,
    pub site: Option<usize>,
    pub buffer: bool,
    pub trainable: bool,
    pub learning_rate_scale: f64,
    /// In place of the run's.
    pub weight_decay: Option<f64>,
    /// Float32; a leaf of the graph where it is trainable.
    pub tensor: Tensor,
}

/// The tensors of a cell, in the order of their registration, and their snapshots.
pub struct Parameters {
    root: u64,
    device: Device,
    list: Vec<Parameter>,
    by_name: BTreeMap<String, usize>,
    snapshots: BTreeMap<String, Vec<Option<Tensor>>>,
}

impl Parameters {
    pub fn new(root: u64, device: Device) -> Parameters {
        Parameters { root, device, list: Vec::new(), by_name: BTreeMap::new(), snapshots: BTreeMap::new() }
    }

    /// Takes copies of the projector's weights, to be trained beside the method's tensors.
    pub fn add_projector(&mut self, backbone: &Backbone, trainable: bool) -> Result<()> {
        for site in backbone.sites().iter().filter(|site| site.part == Part::Projector) {
            let (weight, bias) = backbone.site_parameters(site)?;
            for (name, tensor) in [("weight", Some(weight)), ("bias", bias)] {
                let Some(tensor) = tensor else { continue };
                let copy = no_grad(|| copied(&tensor.f_to_kind(Kind::Float)?))?;
                self.adopt(Parameter {
                    name: format!("{HOST}.{}.{name}", site.path),
                    owner: HOST.to_string(),
                    entry: None,
                    site: Some(site.index),
                    buffer: false,
                    trainable,
                    learning_rate_scale: 1.0,
                    weight_decay: None,
                    tensor: copy.f_set_requires_grad(trainable)?,
                })?;
            }
        }
        Ok(())
    }

    /// Registers a plugin's tensor, or finds the one of that name and shape.
    ///
    /// # Errors
    /// Another shape under that name; a size that is not positive; an unknown initialisation.
    pub fn register(
        &mut self,
        spec: &RawParameterSpec,
        owner: &str,
        entry: usize,
        site_path: Option<&str>,
    ) -> Result<u64> {
        let name = match site_path {
            Some(path) => format!("{owner}.{path}.{}", spec.name),
            None => format!("{owner}.{}", spec.name),
        };
        let shape = spec.shape.as_slice();
        ensure!(!spec.name.is_empty(), "a registered tensor needs a name");
        ensure!(
            shape.iter().all(|&size| size > 0),
            "register `{name}`: shape {shape:?} has a size that is not positive"
        );
        if let Some(&known) = self.by_name.get(&name) {
            let existing = &self.list[known];
            ensure!(
                existing.entry == Some(entry),
                "register `{name}`: another entry of the stack has registered it\nhint: a stack has at most one adapter a site"
            );
            ensure!(
                existing.tensor.size() == shape
                    && existing.buffer == (spec.role == 1)
                    && existing.entry == Some(entry),
                "register `{name}`: it exists with shape {:?}, not {shape:?}\nhint: give the second tensor a name of its own",
                existing.tensor.size()
            );
            return Ok(known as u64);
        }
        let trainable = spec.trainable && spec.role != 1;
        let tensor = self.initial(&name, shape, spec.init)?.f_set_requires_grad(trainable)?;
        self.adopt(Parameter {
            name,
            owner: owner.to_string(),
            entry: Some(entry),
            site: usize::try_from(spec.site).ok(),
            buffer: spec.role == 1,
            trainable,
            learning_rate_scale: spec.learning_rate_scale,
            weight_decay: (spec.weight_decay >= 0.0).then_some(spec.weight_decay),
            tensor,
        })
    }

    /// Takes a tensor as it is: the host's own, or one that a checkpoint describes.
    pub fn adopt(&mut self, parameter: Parameter) -> Result<u64> {
        ensure!(!self.by_name.contains_key(&parameter.name), "tensor `{}` exists already", parameter.name);
        self.by_name.insert(parameter.name.clone(), self.list.len());
        self.list.push(parameter);
        Ok(self.list.len() as u64 - 1)
    }

    fn initial(&self, name: &str, shape: &[i64], init: RawInit) -> Result<Tensor> {
        let options = (Kind::Float, self.device);
        let count: usize = shape.iter().product::<i64>() as usize;
        let drawn = |draw: &mut dyn FnMut(&mut Draws) -> f64| -> Result<Tensor> {
            let mut draws = Draws::new(self.root, &format!("init/{name}"), &[]);
            let values: Vec<f32> = (0..count).map(|_| draw(&mut draws) as f32).collect();
            Ok(Tensor::f_from_slice(&values)?.f_reshape(shape)?.f_to_device(self.device)?)
        };
        match init.kind {
            0 => Ok(Tensor::f_full(shape, init.a, options)?),
            1 => drawn(&mut |draws| init.a + init.b * draws.normal()),
            2 => drawn(&mut |draws| init.a + (init.b - init.a) * draws.uniform()),
            kind => bail!("register `{name}`: initialisation {kind} is not known to this host"),
        }
    }

    /// All tensors, by id.
    pub fn list(&self) -> &[Parameter] {
        &self.list
    }

    /// One tensor.
    pub fn get(&self, id: u64) -> Result<&Parameter> {
        usize::try_from(id)
            .ok()
            .and_then(|id| self.list.get(id))
            .with_context(|| format!("no tensor has the id {id}"))
    }

    /// The id of a name.
    pub fn id(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).map(|&id| id as u64)
    }

    /// As strategies see them.
    pub fn infos(&self) -> Vec<RawParameterInfo> {
        let info = |(id, parameter): (usize, &Parameter)| RawParameterInfo {
            id: id as u64,
            name: parameter.name.as_str().into(),
            site: parameter.site.map_or(-1, |site| site as i64),
            role: u32::from(parameter.buffer),
            owner: parameter.owner.as_str().into(),
            shape: parameter.tensor.size().into(),
            trainable: parameter.trainable,
        };
        self.list.iter().enumerate().map(info).collect()
    }

    /// Overwrites values in place.
    pub fn set_value(&self, id: u64, value: &Tensor) -> Result<()> {
        let parameter = self.get(id)?;
        ensure!(
            parameter.tensor.size() == value.size(),
            "set_value `{}`: shape {:?} in place of {:?}",
            parameter.name,
            value.size(),
            parameter.tensor.size()
        );
        no_grad(|| parameter.tensor.shallow_clone().f_copy_(value))?;
        Ok(())
    }

    /// Freezes or unfreezes a parameter.
    pub fn set_trainable(&mut self, id: u64, trainable: bool) -> Result<()> {
        let known = self.get(id)?;
        ensure!(!known.buffer || !trainable, "set_trainable `{}`: a buffer cannot be trained", known.name);
        let place = id as usize;
        // What is frozen leaves the buffer that it was trained in, which would be held for it alone.
        let value =
            if trainable { self.list[place].tensor.f_detach()? } else { copied(&self.list[place].tensor)? };
        self.list[place].tensor = value.f_set_requires_grad(trainable)?;
        self.list[place].trainable = trainable;
        Ok(())
    }

    /// The ids that belong to a stack entry at a site, in the order of their registration.
    pub fn at_site(&self, entry: usize, site: usize) -> Vec<u64> {
        self.ids(|parameter| parameter.entry == Some(entry) && parameter.site == Some(site))
    }

    /// The ids that belong to a stack entry and to no site, in the order of their registration.
    pub fn without_site(&self, entry: usize) -> Vec<u64> {
        self.ids(|parameter| parameter.entry == Some(entry) && parameter.site.is_none())
    }

    /// The ids for which `keep` holds.
    pub fn ids(&self, keep: impl Fn(&Parameter) -> bool) -> Vec<u64> {
        let kept = self.list.iter().enumerate().filter(|(_, parameter)| keep(parameter));
        kept.map(|(id, _)| id as u64).collect()
    }

    /// The trained weight and bias of a projector's linear.
    pub fn projector(&self, site_path: &str) -> Option<(&Tensor, Option<&Tensor>)> {
        let find = |name: &str| {
            self.by_name.get(&format!("{HOST}.{site_path}.{name}")).map(|&id| &self.list[id].tensor)
        };
        find("weight").map(|weight| (weight, find("bias")))
    }

    /// Keeps the values of all tensors under a name.
    pub fn snapshot(&mut self, name: &str) -> Result<()> {
        let copies = no_grad(|| {
            self.list.iter().map(|parameter| Ok(Some(copied(&parameter.tensor)?))).collect::<Result<Vec<_>>>()
        })?;
        self.snapshots.insert(name.to_string(), copies);
        Ok(())
    }

    /// Forgets a snapshot.
    pub fn drop_snapshot(&mut self, name: &str) -> Result<()> {
        self.snapshots.remove(name).with_context(|| format!("no snapshot is named `{name}`"))?;
        Ok(())
    }

    /// The values that a snapshot has, by id; a tensor registered after it has none.
    pub fn snapshot_values(&self, name: &str) -> Result<&[Option<Tensor>]> {
        let values = self.snapshots.get(name);
        Ok(values.with_context(|| {
            format!("no snapshot is named `{name}`\nhint: take it in before_stage or after_stage")
        })?)
    }

    /// The names of all snapshots.
    pub fn snapshot_names(&self) -> impl Iterator<Item = &str> {
        self.snapshots.keys().map(String::as_str)
    }

    /// Puts a snapshot back, from a checkpoint.
    pub fn restore_snapshot(&mut self, name: &str, values: Vec<Option<Tensor>>) {
        self.snapshots.insert(name.to_string(), values);
    }

    /// Bytes of everything carried from stage to stage: tensors and snapshots.
    pub fn bytes(&self) -> u64 {
        let of = |tensor: &Tensor| tensor.numel() as u64 * tensor.kind().elt_size_in_bytes() as u64;
        let own: u64 = self.list.iter().map(|parameter| of(&parameter.tensor)).sum();
        own + self.snapshots.values().flatten().flatten().map(of).sum::<u64>()
    }

    /// Numbers that the optimizer changes.
    pub fn trainable_count(&self) -> u64 {
        self.list
            .iter()
            .filter(|parameter| parameter.trainable)
            .map(|parameter| parameter.tensor.numel() as u64)
            .sum()
    }
}

/// A copy with its own memory, outside the graph.
pub fn copied(tensor: &Tensor) -> Result<Tensor> {
    no_grad(|| {
        let mut copy = tensor.f_empty_like()?;
        copy.f_copy_(tensor)?;
        Ok(copy.f_detach()?)
    })
}
