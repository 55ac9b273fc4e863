//! What goes into the language model: token ids, mask, positions, images.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::prefix::SoftTokens;

/// On which side the rows of a batch are filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// On the right, or nowhere: the causal mask alone then keeps the filling out of sight.
    Right,
    /// On the left, so that the last column is each row's last token.
    Left,
}

/// One batch of `B` rows and `T` columns.
pub struct ModelInput {
    /// `[B, T]`, int64; each image stands as one image token for each of its visual tokens.
    pub input_ids: Tensor,
    /// `[B, T]`, int64: 1 for tokens, 0 for filling. With a cache `[B, S + T]`, where `S` columns are cached.
    pub attention_mask: Tensor,
    /// `[B, T]`, int64, from 0 at each row's first token.
    pub position_ids: Tensor,
    pub padding: Padding,
    pub images: Option<Images>,
    pub soft: Option<SoftTokens>,
    /// For each row its number in the list that the caller gave (generation reorders and drops rows).
    pub rows: Vec<usize>,
}

/// The images of a batch; rows without one are not counted.
pub struct Images {
    /// `[n, N, d]`: what `Backbone::image_features` returns.
    pub features: Tensor,
    /// `[n * N]`, int64: where each visual token stands, as `row * T + column`.
    pub positions: Tensor,
}

impl Images {
    /// The same tensors.
    pub fn shallow_clone(&self) -> Images {
        Images { features: self.features.shallow_clone(), positions: self.positions.shallow_clone() }
    }
}

/// One row before it is put into a batch.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub input_ids: &'a [i64],
    /// `[N, d]`
    pub image_features: Option<&'a Tensor>,
}

impl ModelInput {
    /// Puts rows into one batch, filled up with `pad` on the given side to the longest row.
    ///
    /// An image's visual tokens take the places of `image_token`, and there must be as many of one as of the other.
    pub fn batch(
        rows: &[Row],
        padding: Padding,
        image_token: i64,
        pad: i64,
        device: Device,
    ) -> Result<ModelInput> {
        ensure!(!rows.is_empty(), "a batch needs at least one row");
        let (count, columns) = (rows.len(), rows.iter().map(|row| row.input_ids.len()).max().unwrap_or(0));
        let mut ids = vec![pad; count * columns];
        let mut mask = vec![0i64; count * columns];
        let mut positions = vec![0i64; count * columns];
        let mut image_places: Vec<i64> = Vec::new();
        let mut features: Vec<&Tensor> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let length = row.input_ids.len();
            let start = index * columns + if padding == Padding::Left { columns - length } else { 0 };
            ids[start..start + length].copy_from_slice(row.input_ids);
            mask[start..start + length].fill(1);
            for (place, position) in positions[start..start + length].iter_mut().enumerate() {
                *position = place as i64;
            }
            let before = image_places.len();
            image_places.extend(
                (start..start + length).filter(|&place| ids[place] == image_token).map(|place| place as i64),
            );
            let found = image_places.len() - before;
            let expected = row.image_features.map_or(0, |tensor| tensor.size().first().copied().unwrap_or(0));
            ensure!(
                found as i64 == expected,
                "row {index} of a batch has {found} image tokens for {expected} visual tokens\nhint: the prompt must hold the image token once for each visual token"
            );
            features.extend(row.image_features);
        }
        let shape = [count as i64, columns as i64];
        let tensor = |values: &[i64]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_view(shape)?.f_to_device(device)?)
        };
        let images = if features.is_empty() {
            None
        } else {
            Some(Images {
                features: Tensor::f_stack(&features, 0)?.f_to_device(device)?,
                positions: Tensor::f_from_slice(&image_places)?.f_to_device(device)?,
            })
        };
        let even = rows.iter().all(|row| row.input_ids.len() == columns);
        Ok(ModelInput {
            input_ids: tensor(&ids)?,
            attention_mask: tensor(&mask)?,
            position_ids: tensor(&positions)?,
            padding: if even { Padding::Right } else { padding },
            images,
            soft: None,
            rows: (0..count).collect(),
        })
    }

    /// The mask that attention adds nothing for where it is true, `[B, 1, T, S]`: a token sees the tokens of its row
    /// up to itself. `None` where the causal mask says the same.
    pub(super) fn visible(&self) -> Result<Option<Tensor>> {
        let columns = self.input_ids.size2()?.1;
        let (_, keys) = self.attention_mask.size2()?;
        if self.padding == Padding::Right && keys == columns {
            return Ok(None);
        }
        let device = self.input_ids.device();
        let own = Tensor::f_ones([columns, keys], (Kind::Bool, device))?.f_tril(keys - columns)?;
        let mask = self.attention_mask.f_to_kind(Kind::Bool)?.f_unsqueeze(1)?.f_unsqueeze(1)?;
        let visible = own.f_logical_and(&mask)?;
        // A filling token sees nothing; left so, its softmax would be 0/0 and poison the row's gradient.
        let diagonal = own.f_logical_xor(&own.f_tril(keys - columns - 1)?)?;
        Ok(Some(visible.f_logical_or(&diagonal)?))
    }
}
