//! Little-endian numbers, texts and lists, one after the other.

use anyhow::{Context, Result, bail, ensure};

use super::Value;

/// Lists within lists are allowed by the format, and used by nobody.
const DEEPEST: usize = 4;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Reader<'a> {
        Reader { bytes, position }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Whether `count` things of at least `size` bytes can still come. Asked before memory is taken for them.
    pub(super) fn expect(&self, count: u64, size: u64) -> Result<()> {
        let left = (self.bytes.len() - self.position) as u64;
        ensure!(
            count.checked_mul(size).is_some_and(|needed| needed <= left),
            "{count} entries are announced at byte {}, and the file has {left} bytes left",
            self.position
        );
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.position.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.position..end)).with_context(|| {
            format!("the file ends at byte {}, where {count} more bytes are expected", self.bytes.len())
        })?;
        self.position += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let length = self.u64()?;
        self.expect(length, 1)?;
        let bytes = self.take(length as usize)?.to_vec();
        String::from_utf8(bytes).context("a text that is not UTF-8")
    }

    /// A value of the type with this number.
    pub(super) fn value(&mut self, kind: u32, depth: usize) -> Result<Value> {
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => bail!("neither true nor false: {other}"),
            },
            8 => Value::Text(self.text()?),
            9 => {
                ensure!(depth < DEEPEST, "lists within lists, more than {DEEPEST} deep");
                let (kind, count) = (self.u32()?, self.u64()?);
                self.expect(count, 1)?;
                let values: Result<_> = (0..count).map(|_| self.value(kind, depth + 1)).collect();
                Value::List(values?)
            }
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => bail!("a value of the unknown type {other}"),
        })
    }
}
