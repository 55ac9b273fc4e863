//! A machine for Python's pickle format, protocol 2, that executes nothing: it knows the operations that a state dictionary is
//! written with, and a few names it may refer to. Everything else is refused.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};

/// Tuples within tuples; what is dropped is dropped recursively, so the depth is bounded.
const DEEPEST: usize = 32;

/// What a pickle can hold here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Integer(i128),
    Text(Rc<str>),
    Tuple(Rc<Tuple>),
    List(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
    Name(Name),
    Storage(Rc<Storage>),
    Tensor(Rc<TensorReference>),
}

/// Shared, once it is remembered and recalled.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tuple {
    items: Vec<Value>,
    /// Kept, because counting it anew takes as long as the tuple would be written out.
    depth: usize,
}

/// What may be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    OrderedDictionary,
    RebuildTensor,
    Storage(Element),
}

/// Element type of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    Double,
    Float,
    Half,
    BFloat16,
    Long,
}

/// A storage, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub key: Rc<str>,
    pub element: Element,
    pub elements: usize,
}

/// A view of a storage; offset and strides in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorReference {
    pub storage: Rc<Storage>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl Element {
    /// In bytes.
    pub fn size(self) -> usize {
        match self {
            Element::Half | Element::BFloat16 => 2,
            Element::Float => 4,
            Element::Double | Element::Long => 8,
        }
    }
}

impl TensorReference {
    /// How many elements it has, all of them within its storage.
    pub(super) fn check(&self) -> Result<usize> {
        let TensorReference { shape, strides, offset, storage } = self;
        ensure!(shape.len() == strides.len(), "{} sizes and {} strides", shape.len(), strides.len());
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let count =
            count.filter(|count| *count <= storage.elements).context("it is larger than its storage")?;
        if count > 0 {
            let last = shape
                .iter()
                .zip(strides)
                .try_fold(*offset, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?));
            ensure!(last.is_some_and(|last| last < storage.elements), "it reaches beyond its storage");
        }
        Ok(count)
    }
}

impl Value {
    /// The value of a text key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let Value::Dictionary(entries) = self else { return None };
        let found = entries.iter().find(|(name, _)| matches!(name, Value::Text(name) if &**name == key));
        found.map(|(_, value)| value)
    }

    fn depth(&self) -> usize {
        match self {
            Value::Tuple(tuple) => tuple.depth,
            Value::List(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Value::Dictionary(entries) => {
                1 + entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0)
            }
            _ => 0,
        }
    }
}

/// The state of reading one pickle.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value>,
}

impl<'a> Machine<'a> {
    /// Reads the pickle at the start of `bytes`: its value, and how many bytes it has.
    pub(super) fn run(bytes: &'a [u8]) -> Result<(Value, usize)> {
        let mut machine =
            Machine { bytes, position: 0, stack: Vec::new(), marks: Vec::new(), memo: BTreeMap::new() };
        loop {
            let at = machine.position;
            let [operation] = machine.array()?;
            if operation == b'.' {
                let value = machine.pop()?;
                return Ok((value, machine.position));
            }
            machine.step(operation).with_context(|| format!("in a pickle, at byte {at}"))?;
        }
    }

    fn step(&mut self, operation: u8) -> Result<()> {
        match operation {
            0x80 => {
                let [protocol] = self.array()?;
                ensure!(protocol == 2, "protocol {protocol}, and only 2 is supported");
            }
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => {
                let [value] = self.array()?;
                self.stack.push(Value::Integer(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.stack.push(Value::Integer(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Integer(value.into()));
            }
            0x8a => self.long()?,
            b'X' => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                let text = std::str::from_utf8(self.take(length)?).context("a text that is not UTF-8")?;
                self.stack.push(Value::Text(text.into()));
            }
            b'q' => {
                let [place] = self.array()?;
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.array()?);
                self.remember(place)?;
            }
            b'h' => {
                let [place] = self.array()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.array()?);
                self.recall(place)?;
            }
            b')' => self.stack.push(Value::Tuple(Rc::default())),
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(operation - 0x84));
                let items = self.stack.split_off(start.context("a value is taken that is not there")?);
                self.tuple(items)?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.tuple(items)?;
            }
            b']' => self.stack.push(Value::List(Vec::new())),
            b'}' => self.stack.push(Value::Dictionary(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(items)?;
            }
            b'c' => self.name()?,
            b'Q' => {
                let id = self.pop()?;
                self.stack.push(Value::Storage(Rc::new(storage(&id)?)));
            }
            b'R' => self.reduce()?,
            // Attributes of a dictionary, PyTorch's `_metadata`: versions of its modules, for nobody here.
            b'b' => {
                let _ = self.pop()?;
                ensure!(
                    matches!(self.stack.last(), Some(Value::Dictionary(_))),
                    "attributes are set on something that is not a dictionary"
                );
            }
            other => bail!(
                "operation 0x{other:02x} is not one that a state dictionary is written with, and is refused"
            ),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.position.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.position..end)).context("it ends too early")?;
        self.position += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn line(&mut self) -> Result<String> {
        let left = self.bytes.get(self.position..).unwrap_or_default();
        let length =
            left.iter().take(200).position(|&byte| byte == b'\n').context("a name without an end")?;
        let line = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.position += 1;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        ensure!(self.stack.len() > bottom, "a value is taken that is not there");
        self.stack.pop().context("a value is taken that is not there")
    }

    fn since_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().context("a mark is missing")?;
        ensure!(mark <= self.stack.len(), "a mark lies above the stack");
        Ok(self.stack.split_off(mark))
    }

    fn long(&mut self) -> Result<()> {
        let [length] = self.array()?;
        let bytes = self.take(length.into())?;
        ensure!(bytes.len() <= 16, "a number of {} bytes", bytes.len());
        let negative = bytes.last().is_some_and(|&byte| byte >= 128);
        let mut all = [if negative { 255 } else { 0 }; 16];
        all[..bytes.len()].copy_from_slice(bytes);
        self.stack.push(Value::Integer(i128::from_le_bytes(all)));
        Ok(())
    }

    fn remember(&mut self, place: u32) -> Result<()> {
        let value = self.stack.last().context("nothing to remember")?;
        // A list or dictionary is still being filled: recalled, it would have to be the same one. No state dictionary does that.
        if !matches!(value, Value::List(_) | Value::Dictionary(_)) {
            self.memo.insert(place, value.clone());
        }
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<()> {
        let value = self.memo.get(&place).with_context(|| format!("number {place} was not remembered"))?;
        self.stack.push(value.clone());
        Ok(())
    }

    fn tuple(&mut self, items: Vec<Value>) -> Result<()> {
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        ensure!(depth <= DEEPEST, "values within values, more than {DEEPEST} deep");
        self.stack.push(Value::Tuple(Rc::new(Tuple { items, depth })));
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Result<()> {
        ensure!(items.iter().all(|item| item.depth() < DEEPEST), "values within values");
        match self.stack.last_mut() {
            Some(Value::List(list)) => list.extend(items),
            _ => bail!("something is appended to what is no list"),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<Value>) -> Result<()> {
        ensure!(items.len().is_multiple_of(2), "a key without a value");
        ensure!(items.iter().all(|item| item.depth() < DEEPEST), "values within values");
        let Some(Value::Dictionary(entries)) = self.stack.last_mut() else {
            bail!("an entry is put into what is no dictionary")
        };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(())
    }

    fn name(&mut self) -> Result<()> {
        let (module, name) = (self.line()?, self.line()?);
        self.stack.push(Value::Name(match (&*module, &*name) {
            ("collections", "OrderedDict") => Name::OrderedDictionary,
            ("torch._utils", "_rebuild_tensor_v2") => Name::RebuildTensor,
            ("torch", "DoubleStorage") => Name::Storage(Element::Double),
            ("torch", "FloatStorage") => Name::Storage(Element::Float),
            ("torch", "HalfStorage") => Name::Storage(Element::Half),
            ("torch", "BFloat16Storage") => Name::Storage(Element::BFloat16),
            ("torch", "LongStorage") => Name::Storage(Element::Long),
            _ => bail!("the name `{module}.{name}` is not one that weights need, and is refused"),
        }));
        Ok(())
    }

    fn reduce(&mut self) -> Result<()> {
        let (arguments, name) = (self.pop()?, self.pop()?);
        let (Value::Name(name), Value::Tuple(arguments)) = (name, arguments) else {
            bail!("something is called that cannot be")
        };
        self.stack.push(match (name, &arguments.items[..]) {
            (Name::OrderedDictionary, []) => Value::Dictionary(Vec::new()),
            (
                Name::RebuildTensor,
                [Value::Storage(storage), Value::Integer(offset), shape, strides, Value::Bool(_), ..],
            ) => Value::Tensor(Rc::new(TensorReference {
                storage: Rc::clone(storage),
                offset: usize::try_from(*offset)?,
                shape: sizes(shape)?,
                strides: sizes(strides)?,
            })),
            (name, _) => bail!("{name:?} is called with arguments that it does not have"),
        });
        Ok(())
    }
}

fn sizes(value: &Value) -> Result<Vec<usize>> {
    let Value::Tuple(tuple) = value else { bail!("sizes that are no tuple") };
    let size = |item: &Value| match item {
        Value::Integer(size) => usize::try_from(*size).context("a size below zero"),
        _ => bail!("a size that is no number"),
    };
    tuple.items.iter().map(size).collect()
}

/// `("storage", type, key, location, elements, None)`; since PyTorch 1.6 without the last
fn storage(id: &Value) -> Result<Storage> {
    let Value::Tuple(tuple) = id else { bail!("a storage without a description") };
    match &tuple.items[..] {
        [
            Value::Text(word),
            Value::Name(Name::Storage(element)),
            Value::Text(key),
            Value::Text(_),
            Value::Integer(elements),
            end @ ..,
        ] if matches!(end, [] | [Value::None]) && &**word == "storage" => {
            Ok(Storage { key: Rc::clone(key), element: *element, elements: usize::try_from(*elements)? })
        }
        _ => bail!("a storage with a description that is not PyTorch's"),
    }
}
