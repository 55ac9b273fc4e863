//! What an operation is called with, and the tensors it refers to.

use crate::abi::DType;

/// A tensor of the recording host.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its name in traces.
    pub(crate) label: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) dtype: DType,
    /// Row-major values, where they are known.
    pub(crate) values: Option<Vec<f64>>,
}

impl Entry {
    /// Name and shape: `input[2, 3]`.
    pub(crate) fn describe(&self) -> String {
        format!("{}{:?}", self.label, self.shape)
    }
}

/// An argument of an operation; tensors by number.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Tensor(usize),
    Tensors(Vec<usize>),
    Int(i64),
    Ints(Vec<i64>),
    Float(f64),
    Flag(bool),
    DType(DType),
}

/// The arguments of one call, looked up. The accessors take places in the table of operations, which fixes the types.
pub(crate) struct Operands<'a> {
    pub(crate) name: &'a str,
    pub(crate) entries: &'a [Entry],
    pub(crate) items: &'a [Operand],
}

impl<'a> Operands<'a> {
    pub(crate) fn tensor(&self, place: usize) -> &'a Entry {
        match self.items[place] {
            Operand::Tensor(number) => &self.entries[number],
            ref other => panic!("{}: argument {place} is {other:?}, not a tensor", self.name),
        }
    }

    pub(crate) fn tensors(&self, place: usize) -> Vec<&'a Entry> {
        match &self.items[place] {
            Operand::Tensors(numbers) => numbers.iter().map(|number| &self.entries[*number]).collect(),
            other => panic!("{}: argument {place} is {other:?}, not a list of tensors", self.name),
        }
    }

    pub(crate) fn shape(&self, place: usize) -> &'a [i64] {
        &self.tensor(place).shape
    }

    pub(crate) fn int(&self, place: usize) -> i64 {
        match self.items[place] {
            Operand::Int(value) => value,
            ref other => panic!("{}: argument {place} is {other:?}, not an integer", self.name),
        }
    }

    pub(crate) fn ints(&self, place: usize) -> &'a [i64] {
        match &self.items[place] {
            Operand::Ints(values) => values,
            other => panic!("{}: argument {place} is {other:?}, not a list of integers", self.name),
        }
    }

    pub(crate) fn float(&self, place: usize) -> f64 {
        match self.items[place] {
            Operand::Float(value) => value,
            ref other => panic!("{}: argument {place} is {other:?}, not a number", self.name),
        }
    }

    pub(crate) fn flag(&self, place: usize) -> bool {
        match self.items[place] {
            Operand::Flag(value) => value,
            ref other => panic!("{}: argument {place} is {other:?}, not a truth value", self.name),
        }
    }

    /// All tensors among the arguments.
    pub(crate) fn all_tensors(&self) -> Vec<&'a Entry> {
        self.items
            .iter()
            .flat_map(|item| match item {
                Operand::Tensor(number) => vec![*number],
                Operand::Tensors(numbers) => numbers.clone(),
                _ => Vec::new(),
            })
            .map(|number| &self.entries[number])
            .collect()
    }

    /// The arguments as a trace shows them.
    pub(crate) fn describe(&self) -> String {
        let items: Vec<String> = self
            .items
            .iter()
            .map(|item| match item {
                Operand::Tensor(number) => self.entries[*number].describe(),
                Operand::Tensors(numbers) => {
                    let parts: Vec<String> =
                        numbers.iter().map(|number| self.entries[*number].describe()).collect();
                    format!("[{}]", parts.join(", "))
                }
                Operand::Int(value) => value.to_string(),
                Operand::Ints(values) => format!("{values:?}"),
                Operand::Float(value) => value.to_string(),
                Operand::Flag(value) => value.to_string(),
                Operand::DType(dtype) => format!("{dtype:?}"),
            })
            .collect();
        items.join(", ")
    }

    pub(crate) fn error(&self, why: &str) -> crate::Error {
        crate::Error::new(format!("{}({}): {why}", self.name, self.describe()))
    }
}
