//! The replay buffer: samples of earlier stages, as far as the protocol grants them, and what strategies store with them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use coin_plugin_api::abi::RawRow;
use tch::Tensor;

use crate::config::Protocol;

/// A sample in the buffer.
pub struct Slot {
    pub sample: u64,
    /// By name.
    pub stored: BTreeMap<String, Tensor>,
}

/// The buffer of a cell.
#[derive(Default)]
pub struct ReplayBuffer {
    slots: BTreeMap<u64, Slot>,
    next: u64,
}

impl ReplayBuffer {
    /// Samples that a protocol lets it hold once `seen` tasks were trained or begun.
    pub fn capacity(protocol: &Protocol, seen: usize) -> u64 {
        match protocol.replay_total_samples {
            0 => (protocol.replay_samples_per_task * seen) as u64,
            total => total as u64,
        }
    }

    /// Slot and sample, by slot.
    pub fn rows(&self) -> Vec<RawRow> {
        self.slots
            .iter()
            .map(|(&slot, content)| RawRow { sample: content.sample, slot: slot as i64 })
            .collect()
    }

    /// The slot of a sample.
    pub fn slot_of(&self, sample: u64) -> Option<u64> {
        self.slots.iter().find(|(_, content)| content.sample == sample).map(|(&slot, _)| slot)
    }

    /// Keeps a sample.
    pub fn add(&mut self, sample: u64, capacity: u64) -> Result<u64> {
        ensure!(
            (self.slots.len() as u64) < capacity,
            "the replay buffer is full: it holds {} of {capacity} samples\nhint: remove a slot first, or raise `[protocol] replay_samples_per_task`",
            self.slots.len()
        );
        ensure!(self.slot_of(sample).is_none(), "the sample is in the replay buffer already");
        let slot = self.next;
        self.next += 1;
        self.slots.insert(slot, Slot { sample, stored: BTreeMap::new() });
        Ok(slot)
    }

    /// Forgets a slot.
    pub fn remove(&mut self, slot: u64) -> Result<()> {
        self.slots.remove(&slot).with_context(|| format!("the replay buffer has no slot {slot}"))?;
        Ok(())
    }

    /// Keeps a tensor with a slot.
    pub fn store(&mut self, slot: u64, name: &str, value: Tensor) -> Result<()> {
        let content =
            self.slots.get_mut(&slot).with_context(|| format!("the replay buffer has no slot {slot}"))?;
        content.stored.insert(name.to_string(), value);
        Ok(())
    }

    /// The tensor of a slot.
    pub fn stored(&self, slot: u64, name: &str) -> Result<Option<&Tensor>> {
        let content =
            self.slots.get(&slot).with_context(|| format!("the replay buffer has no slot {slot}"))?;
        Ok(content.stored.get(name))
    }

    /// Everything, for a checkpoint.
    pub fn slots(&self) -> (&BTreeMap<u64, Slot>, u64) {
        (&self.slots, self.next)
    }

    /// Everything, from a checkpoint.
    pub fn restore(slots: BTreeMap<u64, Slot>, next: u64) -> ReplayBuffer {
        ReplayBuffer { slots, next }
    }

    /// Samples in it.
    pub fn samples(&self) -> Vec<u64> {
        self.slots.values().map(|slot| slot.sample).collect()
    }

    /// Bytes of the tensors stored with samples.
    pub fn bytes(&self) -> u64 {
        let of = |tensor: &Tensor| tensor.numel() as u64 * tensor.kind().elt_size_in_bytes() as u64;
        self.slots.values().flat_map(|slot| slot.stored.values()).map(of).sum()
    }
}
