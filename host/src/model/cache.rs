//! The keys and values of the tokens that a generation has already seen.

use anyhow::{Context, Result};
use tch::Tensor;

/// Room for `capacity` tokens in every layer, taken at the first append, so that a step copies only its own token.
pub struct KeyValueCache {
    layers: Vec<Option<(Tensor, Tensor)>>,
    capacity: i64,
    length: i64,
}

impl KeyValueCache {
    /// An empty cache for a decoder of `layers` layers.
    pub fn new(layers: usize, capacity: usize) -> KeyValueCache {
        KeyValueCache { layers: (0..layers).map(|_| None).collect(), capacity: capacity as i64, length: 0 }
    }

    /// Tokens held.
    pub fn length(&self) -> usize {
        self.length as usize
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
