//! Rows to batches, and rows of similar length together.

use anyhow::{Result, ensure};
use tch::{Device, Tensor};

use super::prompt::{Example, IGNORED};
use crate::model::input::Row;
use crate::model::{ModelInput, Padding};
use crate::stream::random::Draws;

/// One batch to train on, filled up on the right.
pub struct TrainingBatch {
    pub input: ModelInput,
    /// `[B, T]`, int64: what stands at each token, or -100.
    pub labels: Tensor,
    /// Tokens that predict a labelled one, as `row * T + column`, ascending: where hidden states are needed.
    pub positions: Vec<i64>,
    /// `[K]`, int64: the token that each of `positions` has to predict.
    pub targets: Tensor,
    /// References of the rows' samples, where a cell made the batch.
    pub samples: Vec<u64>,
}

impl TrainingBatch {
    /// Puts examples and the `[N, d]` visual tokens of their pictures into one batch.
    pub fn new(
        rows: &[(&Example, Option<&Tensor>)],
        image_token: i64,
        pad: i64,
        device: Device,
    ) -> Result<TrainingBatch> {
        let parts: Vec<Row> = rows
            .iter()
            .map(|(example, image_features)| Row {
                input_ids: &example.input_ids,
                image_features: *image_features,
            })
            .collect();
        let input = ModelInput::batch(&parts, Padding::Right, image_token, pad, device)?;
        let columns = input.input_ids.size2()?.1 as usize;
        let mut labels = vec![IGNORED; rows.len() * columns];
        let mut positions = Vec::new();
        let mut targets = Vec::new();
        for (index, (example, _)) in rows.iter().enumerate() {
            ensure!(
                example.labels.len() == example.input_ids.len(),
                "row {index}: one label for each token is needed"
            );
            let start = index * columns;
            labels[start..start + example.labels.len()].copy_from_slice(&example.labels);
            for (column, &label) in example.labels.iter().enumerate().skip(1) {
                if label != IGNORED {
                    positions.push((start + column - 1) as i64);
                    targets.push(label);
                }
            }
        }
        ensure!(!targets.is_empty(), "no token of this batch has a label");
        Ok(TrainingBatch {
            input,
            labels: Tensor::f_from_slice(&labels)?
                .f_view([rows.len() as i64, columns as i64])?
                .f_to_device(device)?,
            positions,
            targets: Tensor::f_from_slice(&targets)?.f_to_device(device)?,
            samples: Vec::new(),
        })
    }
}

/// Batches of numbers `0..lengths.len()`, each with rows of similar length, in random order: the rows are shuffled,
/// sorted by length within windows of 16 batches, cut, and the batches shuffled. The last batch may be smaller.
pub fn length_buckets(lengths: &[usize], batch_size: usize, draws: &mut Draws) -> Vec<Vec<usize>> {
    let batch_size = batch_size.max(1);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    draws.shuffle(&mut order);
    for window in order.chunks_mut(16 * batch_size) {
        window.sort_by_key(|&index| lengths[index]);
    }
    let mut batches: Vec<Vec<usize>> = order.chunks(batch_size).map(<[usize]>::to_vec).collect();
    draws.shuffle(&mut batches);
    // Whoever replaces some rows of a batch must not hit the longest ones every time.
    batches.iter_mut().for_each(|batch| draws.shuffle(batch));
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(ids: &[i64], answer: usize) -> Example {
        let mut labels = ids.to_vec();
        labels[..answer].fill(IGNORED);
        Example { input_ids: ids.to_vec(), labels }
    }

    #[test]
    fn positions_stand_one_before_what_they_predict() {
        let (short, long) = (example(&[1, 3, 3, 7, 2], 3), example(&[1, 3, 3, 8, 9, 10, 2], 5));
        let picture = Tensor::zeros([2, 4], (tch::Kind::Float, Device::Cpu));
        let batch =
            TrainingBatch::new(&[(&short, Some(&picture)), (&long, Some(&picture))], 3, 2, Device::Cpu)
                .expect("a batch");
        assert_eq!(batch.positions, [2, 3, 7 + 4, 7 + 5]);
        assert_eq!(Vec::<i64>::try_from(&batch.targets).expect("targets"), [7, 2, 10, 2]);
        assert_eq!(batch.input.input_ids.size(), [2, 7]);
        let images = batch.input.images.as_ref().expect("two pictures");
        assert_eq!(Vec::<i64>::try_from(&images.positions).expect("positions"), [1, 2, 8, 9]);
        assert_eq!(batch.input.attention_mask.sum(tch::Kind::Int64).int64_value(&[]), 12);
    }

    #[test]
    fn image_tokens_without_a_picture_are_refused() {
        let row = example(&[1, 3, 3, 7, 2], 3);
        let message =
            TrainingBatch::new(&[(&row, None)], 3, 2, Device::Cpu).err().expect("refused").to_string();
        assert!(message.contains("2 image tokens for 0"), "{message}");
    }

    proptest! {
        #[test]
        fn buckets_hold_every_row_once(
            lengths in prop::collection::vec(1usize..60, 0..300),
            size in 1usize..9,
            root in 0u64..9,
        ) {
            let batches = length_buckets(&lengths, size, &mut Draws::new(root, "buckets", &[]));
            prop_assert_eq!(&batches, &length_buckets(&lengths, size, &mut Draws::new(root, "buckets", &[])));
            prop_assert!(batches.iter().all(|batch| batch.len() <= size));
            let mut all: Vec<usize> = batches.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }
    }
}
