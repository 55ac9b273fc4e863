//! Soft prompt tokens: columns that a hook puts between those of a batch (Lester et al. 2021; L2P: Wang et al. 2022).

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::input::{Images, ModelInput};

/// Soft prompt tokens for each row of a batch.
#[derive(Debug)]
pub struct Prefix {
    /// `[B, P, d]`.
    pub tokens: Tensor,
    /// After the picture of a row that has one, instead of before everything.
    pub after_image: bool,
}

/// Soft prompt tokens in their places.
pub struct SoftTokens {
    /// `[B * P, d]`.
    pub tokens: Tensor,
    /// `[B * P]`, int64: where each stands, as `row * T + column`.
    pub positions: Tensor,
}

/// Where the columns of a batch went when soft tokens were put between them.
#[derive(Clone)]
pub struct Shift {
    /// The first soft column of each row.
    first: Vec<i64>,
    width: i64,
    columns: i64,
}

impl Shift {
    /// Soft columns of a row.
    pub fn width(&self) -> usize {
        self.width as usize
    }

    /// The new place of a token, both as `row * columns + column`.
    pub fn token(&self, token: i64) -> i64 {
        let (row, column) = (token / self.columns, token % self.columns);
        let first = self.first.get(row as usize).copied().unwrap_or(0);
        row * (self.columns + self.width) + column + if column >= first { self.width } else { 0 }
    }

    /// `[B, T]`, int64, with its soft columns set to `filling`: `[B, T + P]`.
    pub fn widen(&self, tensor: &Tensor, filling: i64) -> Result<Tensor> {
        let rows = self.first.len() as i64;
        let old = Vec::<i64>::try_from(&tensor.f_reshape([-1])?)?;
        let mut new = vec![filling; (rows * (self.columns + self.width)) as usize];
        for (token, value) in old.into_iter().enumerate() {
            new[self.token(token as i64) as usize] = value;
        }
        self.placed(&new, tensor.device())
    }

    fn placed(&self, values: &[i64], device: Device) -> Result<Tensor> {
        let shape = [self.first.len() as i64, self.columns + self.width];
        Ok(Tensor::f_from_slice(values)?.f_view(shape)?.f_to_device(device)?)
    }

    /// Positions `[B, T]`, from 0 at each row's first token: soft tokens count as tokens.
    fn positions(&self, tensor: &Tensor) -> Result<Tensor> {
        let old = Vec::<i64>::try_from(&tensor.f_reshape([-1])?)?;
        let mut new = vec![0; self.first.len() * (self.columns + self.width) as usize];
        for (row, &first) in self.first.iter().enumerate() {
            let row = row as i64;
            for column in 0..self.columns {
                let token = row * self.columns + column;
                let later = if column >= first { self.width } else { 0 };
                new[self.token(token) as usize] = old[token as usize] + later;
            }
            let start = match first < self.columns {
                true => old[(row * self.columns + first) as usize],
                false => old[(row * self.columns + first - 1) as usize] + 1,
            };
            for place in 0..self.width {
                new[(row * (self.columns + self.width) + first + place) as usize] = start + place;
            }
        }
        self.placed(&new, tensor.device())
    }
}

impl ModelInput {
    /// The batch with soft tokens in place; their columns hold `pad`, and the mask lets them be seen.
    ///
    /// # Errors
    /// Tokens that are not `[B, P, width]`; a batch that has soft tokens already, or whose prompts are cached.
    pub fn with_prefix(
        &self,
        prefix: &Prefix,
        width: i64,
        image_token: i64,
        pad: i64,
    ) -> Result<(ModelInput, Shift)> {
        let (rows, columns) = self.input_ids.size2()?;
        let size = prefix.tokens.size();
        ensure!(
            matches!(size[..], [given, _, features] if given == rows && features == width),
            "soft tokens of shape {size:?}, but [{rows}, P, {width}] is needed"
        );
        ensure!(
            self.soft.is_none() && self.attention_mask.size2()?.1 == columns,
            "soft tokens are put into whole prompts only"
        );
        let ids = Vec::<i64>::try_from(&self.input_ids.f_reshape([-1])?)?;
        let mask = Vec::<i64>::try_from(&self.attention_mask.f_reshape([-1])?)?;
        let first = ids.chunks(columns as usize).zip(mask.chunks(columns as usize)).map(|(ids, mask)| {
            let start = mask.iter().position(|&seen| seen != 0).unwrap_or(0);
            let picture = ids.iter().rposition(|&id| id == image_token).filter(|_| prefix.after_image);
            picture.map_or(start, |last| last + 1) as i64
        });
        let shift = Shift { first: first.collect(), width: size[1], columns };
        let places: Vec<i64> = (0i64..)
            .zip(&shift.first)
            .flat_map(|(row, first)| {
                let start = row * (columns + shift.width) + first;
                start..start + shift.width
            })
            .collect();
        let device = self.input_ids.device();
        let on_device =
            |values: &[i64]| -> Result<Tensor> { Ok(Tensor::f_from_slice(values)?.f_to_device(device)?) };
        let images = match &self.images {
            None => None,
            Some(images) => {
                let old = Vec::<i64>::try_from(&images.positions)?;
                let new: Vec<i64> = old.into_iter().map(|token| shift.token(token)).collect();
                Some(Images { features: images.features.shallow_clone(), positions: on_device(&new)? })
            }
        };
        let input = ModelInput {
            input_ids: shift.widen(&self.input_ids, pad)?,
            attention_mask: shift.widen(&self.attention_mask, 1)?,
            position_ids: shift.positions(&self.position_ids)?,
            padding: self.padding,
            images,
            soft: Some(SoftTokens {
                tokens: prefix.tokens.f_reshape([-1, width])?,
                positions: on_device(&places)?,
            }),
            rows: self.rows.clone(),
        };
        Ok((input, shift))
    }
}

impl SoftTokens {
    /// Embedded tokens `[B * T, d]` with the soft ones in their places.
    pub(super) fn put_into(&self, embedded: &Tensor, kind: Kind) -> Result<Tensor> {
        Ok(embedded.f_index_copy(0, &self.positions, &self.tokens.f_to_kind(kind)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Padding;
    use crate::model::input::Row;

    fn batch(padding: Padding) -> ModelInput {
        let picture = Tensor::zeros([2, 4], (Kind::Float, Device::Cpu));
        let rows = [
            Row { input_ids: &[1, 9, 9, 5], image_features: Some(&picture) },
            Row { input_ids: &[1, 6], image_features: None },
        ];
        ModelInput::batch(&rows, padding, 9, 0, Device::Cpu).expect("a batch")
    }

    fn prefix(after_image: bool) -> Prefix {
        Prefix { tokens: Tensor::ones([2, 2, 4], (Kind::Float, Device::Cpu)), after_image }
    }

    fn rows(tensor: &Tensor) -> Vec<Vec<i64>> {
        Vec::<Vec<i64>>::try_from(tensor).expect("a table")
    }

    #[test]
    fn soft_tokens_stand_before_everything_or_after_the_picture() {
        let (input, shift) = batch(Padding::Right).with_prefix(&prefix(false), 4, 9, 0).expect("soft tokens");
        assert_eq!(rows(&input.input_ids), [[0, 0, 1, 9, 9, 5], [0, 0, 1, 6, 0, 0]]);
        assert_eq!(rows(&input.attention_mask), [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]);
        assert_eq!(rows(&input.position_ids)[0], [0, 1, 2, 3, 4, 5]);
        assert_eq!(shift.token(4 + 1), 6 + 3);

        let (input, shift) = batch(Padding::Right).with_prefix(&prefix(true), 4, 9, 0).expect("soft tokens");
        assert_eq!(rows(&input.input_ids), [[1, 9, 9, 0, 0, 5], [0, 0, 1, 6, 0, 0]]);
        assert_eq!(rows(&input.position_ids)[0], [0, 1, 2, 3, 4, 5]);
        let images = input.images.expect("a picture");
        assert_eq!(Vec::<i64>::try_from(&images.positions).expect("places"), [1, 2]);
        assert_eq!(shift.token(3), 5);
        assert_eq!(shift.token(2), 2);
    }

    #[test]
    fn filling_on_the_left_stays_in_front() {
        let (input, _) = batch(Padding::Left).with_prefix(&prefix(false), 4, 9, 0).expect("soft tokens");
        assert_eq!(rows(&input.attention_mask), [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]);
        assert_eq!(rows(&input.position_ids)[1][2..], [0, 1, 2, 3]);
    }

    #[test]
    fn tokens_of_another_shape_are_refused() {
        let wrong =
            Prefix { tokens: Tensor::ones([1, 2, 4], (Kind::Float, Device::Cpu)), after_image: false };
        let error = batch(Padding::Right).with_prefix(&wrong, 4, 9, 0).err().expect("refused").to_string();
        assert!(error.contains("[2, P, 4] is needed"), "{error}");
    }
}
