//! The keys and values of the tokens that a generation has already seen.

use anyhow::{Context, Result};
use tch::Tensor;

/// Room for `capacity` tokens in every layer, taken at the first append, so that a step copies only its own token.
pub struct KeyValueCache {
    layers: Vec<Option<(Tensor, Tensor)>>,
    capacity: i64,
    length: i64,
    answering: bool,
}

impl KeyValueCache {
    /// An empty cache for a decoder of `layers` layers.
    pub fn new(layers: usize, capacity: usize) -> KeyValueCache {
        KeyValueCache {
            layers: (0..layers).map(|_| None).collect(),
            capacity: capacity as i64,
            length: 0,
            answering: false,
        }
    }

    /// Tokens held.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// The prompts are read; what comes now are answers.
    pub fn answer(&mut self) {
        self.answering = true;
    }

    /// Whether the prompts are read.
    pub fn is_answering(&self) -> bool {
        self.answering
    }

    /// A cache with room for `capacity` tokens whose rows begin as those given of this one; `rows` is int64.
    pub fn spread(&self, rows: &Tensor, capacity: usize) -> Result<KeyValueCache> {
        let taken = |tensor: &Tensor| -> Result<Tensor> {
            let held = tensor.f_narrow(2, 0, self.length)?.f_index_select(0, rows)?;
            let (count, heads, _, size) = held.size4()?;
            let room = held.f_new_empty([count, heads, capacity as i64, size], keys_options(&held))?;
            room.f_narrow(2, 0, self.length)?.f_copy_(&held)?;
            Ok(room)
        };
        let layers = self
            .layers
            .iter()
            .map(|slot| slot.as_ref().map(|(keys, values)| Ok((taken(keys)?, taken(values)?))).transpose());
        let layers = layers.collect::<Result<_>>()?;
        Ok(KeyValueCache { layers, capacity: capacity as i64, length: self.length, answering: false })
    }

    /// Appends `[B, heads, T, head]` keys and values of one layer and returns all of that layer's, `[B, heads, S + T, head]`.
    pub(super) fn append(
        &mut self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (rows, heads, columns, size) = keys.size4()?;
        let slot = self.layers.get_mut(layer).context("the cache has fewer layers than the decoder")?;
        if slot.is_none() {
            let room = [rows, heads, self.capacity, size];
            *slot = Some((
                keys.f_new_empty(room, keys_options(keys))?,
                values.f_new_empty(room, keys_options(values))?,
            ));
        }
        let (all_keys, all_values) = slot.as_ref().context("the layer's room was just taken")?;
        all_keys.f_narrow(2, self.length, columns)?.f_copy_(keys)?;
        all_values.f_narrow(2, self.length, columns)?.f_copy_(values)?;
        let held = self.length + columns;
        Ok((all_keys.f_narrow(2, 0, held)?, all_values.f_narrow(2, 0, held)?))
    }

    /// Called once all layers have appended `columns` tokens.
    pub(super) fn advance(&mut self, columns: i64) {
        self.length += columns;
    }

    /// Keeps the given rows, in the given order; `rows` is int64.
    pub fn keep(&mut self, rows: &Tensor) -> Result<()> {
        for (keys, values) in self.layers.iter_mut().flatten() {
            *keys = keys.f_index_select(0, rows)?;
            *values = values.f_index_select(0, rows)?;
        }
        Ok(())
    }
}

fn keys_options(tensor: &Tensor) -> (tch::Kind, tch::Device) {
    (tensor.kind(), tensor.device())
}
