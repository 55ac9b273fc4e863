//! GGUF, the file format of llama.cpp, as its specification (ggml-org/ggml, docs/gguf.md, version 3) describes it: metadata, a table
//! of tensors, their data. What is read is never trusted: every length is held against what is left of the file.

mod block;
mod reader;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

pub use block::ElementType;
use reader::Reader;

const MAGIC: &[u8] = b"GGUF";
/// Where tensors begin, unless `general.alignment` says otherwise.
const ALIGNMENT: u64 = 32;

/// A file in memory.
#[derive(Debug)]
pub struct Gguf<'a> {
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Entry>,
    data: &'a [u8],
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of any width, signed or not.
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// What the table says of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Rows first, as PyTorch has it; the file has the fastest dimension first.
    pub shape: Vec<usize>,
    pub element: ElementType,
    offset: usize,
}

impl Gguf<'_> {
    /// Reads metadata and table, and makes sure that every tensor lies inside the file.
    ///
    /// # Errors
    /// Another format or version, an unknown element type, a name twice, a file that ends too early.
    pub fn parse(bytes: &[u8]) -> Result<Gguf<'_>> {
        const HINT: &str = "hint: the file is damaged or was not copied whole";
        ensure!(bytes.starts_with(MAGIC), "not a GGUF file: it does not begin with `GGUF`\n{HINT}");
        let mut reader = Reader::new(bytes, MAGIC.len());
        let head =
            |reader: &mut Reader| Ok::<_, anyhow::Error>((reader.u32()?, reader.u64()?, reader.u64()?));
        let (version, tensors, pairs) = head(&mut reader).with_context(|| format!("its head\n{HINT}"))?;
        ensure!(
            version == 2 || version == 3,
            "GGUF version {version}, and only 2 and 3 are supported\nhint: convert the file with a newer llama.cpp"
        );
        let metadata = metadata(&mut reader, pairs).with_context(|| format!("the metadata\n{HINT}"))?;
        let alignment = match metadata.get("general.alignment") {
            None => ALIGNMENT,
            Some(&Value::Integer(value)) if (1..=1 << 20).contains(&value) => value as u64,
            Some(other) => bail!("general.alignment is {other:?}\n{HINT}"),
        };
        let tensors = table(&mut reader, tensors).with_context(|| format!("the table of tensors\n{HINT}"))?;
        let start = (reader.position() as u64).next_multiple_of(alignment) as usize;
        let data = bytes.get(start..).unwrap_or_default();
        for (name, entry) in &tensors {
            let size = entry.element.bytes(&entry.shape).with_context(|| format!("tensor `{name}`"))?;
            let end = entry.offset.checked_add(size);
            ensure!(
                end.is_some_and(|end| end <= data.len()),
                "tensor `{name}` ends behind the end of the file\n{HINT}"
            );
        }
        Ok(Gguf { metadata, tensors, data })
    }

    /// The table of tensors.
    pub fn tensors(&self) -> &BTreeMap<String, Entry> {
        &self.tensors
    }

    /// The values of a tensor as float32, rows first.
    ///
    /// # Errors
    /// No tensor of that name.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        let entry = self.tensors.get(name).with_context(|| format!("the file has no tensor `{name}`"))?;
        let size = entry.element.bytes(&entry.shape)?;
        let bytes = self.data.get(entry.offset..entry.offset + size).context("a tensor outside the file")?;
        Ok(entry.element.values(bytes))
    }

    /// A text of the metadata.
    pub fn text(&self, key: &str) -> Result<&str> {
        match self.value(key)? {
            Value::Text(text) => Ok(text),
            other => Err(other.unlike(key, "a text")),
        }
    }

    /// A whole number of the metadata.
    pub fn integer(&self, key: &str) -> Result<i64> {
        match self.value(key)? {
            Value::Integer(value) => Ok(i64::try_from(*value).with_context(|| format!("`{key}`"))?),
            other => Err(other.unlike(key, "a whole number")),
        }
    }

    /// A number of the metadata.
    pub fn float(&self, key: &str) -> Result<f64> {
        match self.value(key)? {
            Value::Float(value) => Ok(*value),
            other => Err(other.unlike(key, "a number with a fraction")),
        }
    }

    /// A list of texts of the metadata.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>> {
        let mut texts = Vec::new();
        for value in self.list(key)? {
            match value {
                Value::Text(text) => texts.push(text.as_str()),
                other => return Err(other.unlike(key, "a list of texts")),
            }
        }
        Ok(texts)
    }

    /// A list of whole numbers of the metadata.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>> {
        let integer = |value: &Value| match value {
            Value::Integer(value) => Ok(i64::try_from(*value).with_context(|| format!("`{key}`"))?),
            other => Err(other.unlike(key, "a list of whole numbers")),
        };
        self.list(key)?.iter().map(integer).collect()
    }

    fn list(&self, key: &str) -> Result<&[Value]> {
        match self.value(key)? {
            Value::List(list) => Ok(list),
            other => Err(other.unlike(key, "a list")),
        }
    }

    fn value(&self, key: &str) -> Result<&Value> {
        self.metadata.get(key).with_context(|| format!("the file says nothing about `{key}`"))
    }
}

impl Value {
    fn unlike(&self, key: &str, expected: &str) -> anyhow::Error {
        let found = match self {
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Bool(_) => "true or false",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
        };
        anyhow::anyhow!("`{key}` is {found}, and {expected} is expected")
    }
}

fn metadata(reader: &mut Reader, pairs: u64) -> Result<BTreeMap<String, Value>> {
    // A pair has at least a length, a type and a byte.
    reader.expect(pairs, 13)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..pairs {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind, 0).with_context(|| format!("`{key}`"))?;
        ensure!(metadata.insert(key.clone(), value).is_none(), "`{key}` stands twice");
    }
    Ok(metadata)
}

fn table(reader: &mut Reader, count: u64) -> Result<BTreeMap<String, Entry>> {
    reader.expect(count, 24)?;
    let mut tensors = BTreeMap::new();
    for _ in 0..count {
        let name = reader.text()?;
        let dimensions = reader.u32()?;
        ensure!(dimensions <= 4, "tensor `{name}` has {dimensions} dimensions, and 4 are the most");
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(usize::try_from(reader.u64()?)?);
        }
        shape.reverse();
        let element = ElementType::of(reader.u32()?).with_context(|| format!("tensor `{name}`"))?;
        let offset = usize::try_from(reader.u64()?)?;
        ensure!(
            tensors.insert(name.clone(), Entry { shape, element, offset }).is_none(),
            "tensor `{name}` stands twice"
        );
    }
    Ok(tensors)
}

#[cfg(test)]
pub(crate) mod tests;
