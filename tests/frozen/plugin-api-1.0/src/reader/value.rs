//! Values as they were read, and serde's way into them.

use std::fmt::{self, Display};

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Parsed;

#[derive(Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Array(Vec<Value>),
    Table(Table),
}

/// In written order.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<(String, Value)>);

const TWICE: &str = "this key stands there twice";
const NO_TABLE: &str = "this key is not a table";

impl Table {
    fn get(&mut self, key: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// The table at a path, made where it is missing; of a list of tables the last one.
    pub(super) fn descend(&mut self, path: &[String]) -> Parsed<&mut Table> {
        let Some((key, rest)) = path.split_first() else { return Ok(self) };
        if self.get(key).is_none() {
            self.0.push((key.clone(), Value::Table(Table::default())));
        }
        match self.get(key) {
            Some(Value::Table(table)) => table.descend(rest),
            Some(Value::Array(items)) => match items.last_mut() {
                Some(Value::Table(table)) => table.descend(rest),
                _ => Err(NO_TABLE),
            },
            _ => Err(NO_TABLE),
        }
    }

    /// The table of a header, which must not be a list of tables.
    pub(super) fn header(&mut self, path: &[String]) -> Parsed<()> {
        let Some((key, parents)) = path.split_last() else { return Err(NO_TABLE) };
        match self.descend(parents)?.get(key) {
            Some(Value::Array(_)) => Err(TWICE),
            _ => self.descend(path).map(|_| ()),
        }
    }

    /// Adds a table to the list of tables at a path.
    pub(super) fn append(&mut self, path: &[String]) -> Parsed<()> {
        let Some((key, parents)) = path.split_last() else { return Err(NO_TABLE) };
        let parent = self.descend(parents)?;
        let table = Value::Table(Table::default());
        match parent.get(key) {
            None => parent.0.push((key.clone(), Value::Array(vec![table]))),
            Some(Value::Array(items)) if matches!(items.last(), Some(Value::Table(_))) => items.push(table),
            Some(_) => return Err(TWICE),
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, path: &[String], value: Value) -> Parsed<()> {
        let Some((key, parents)) = path.split_last() else { return Err(NO_TABLE) };
        let parent = self.descend(parents)?;
        if parent.get(key).is_some() {
            return Err(TWICE);
        }
        parent.0.push((key.clone(), value));
        Ok(())
    }
}

/// A value that does not fit, with the path of its key.
#[derive(Debug)]
pub(super) struct Unfit {
    path: String,
    problem: String,
}

impl Unfit {
    fn below(mut self, key: &str) -> Unfit {
        self.path = if self.path.is_empty() { key.to_string() } else { format!("{key}.{}", self.path) };
        self
    }
}

impl Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Unfit {}

impl serde::de::Error for Unfit {
    fn custom<T: Display>(problem: T) -> Self {
        Unfit { path: String::new(), problem: problem.to_string() }
    }
}

impl<'de> Deserializer<'de> for Value {
    type Error = Unfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(value) => visitor.visit_i64(value),
            Value::Float(value) => visitor.visit_f64(value),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Table(table) => visitor.visit_map(Entries { rest: table.0.into_iter(), next: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        match self {
            Value::String(name) => visitor.visit_enum(name.into_deserializer()),
            Value::Table(mut table) if table.0.len() == 1 => match table.0.pop() {
                Some((name, value)) => visitor.visit_enum(Variant { name, value }),
                None => Err(serde::de::Error::custom("a variant is missing")),
            },
            _ => Err(serde::de::Error::custom("a variant is a text, or a table with one key")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Unfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unfit> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries {
    rest: std::vec::IntoIter<(String, Value)>,
    /// The entry whose key was read and whose value was not.
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Unfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unfit> {
        self.next = self.rest.next();
        let Some((key, _)) = &self.next else { return Ok(None) };
        let key: StrDeserializer<'_, Unfit> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unfit> {
        match self.next.take() {
            Some((key, value)) => seed.deserialize(value).map_err(|error| error.below(&key)),
            None => Err(serde::de::Error::custom("a value before its key")),
        }
    }
}

struct Variant {
    name: String,
    value: Value,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Unfit;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content), Unfit> {
        let name: StrDeserializer<'_, Unfit> = self.name.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, Content { name: self.name.clone(), value: self.value }))
    }
}

struct Content {
    name: String,
    value: Value,
}

impl<'de> VariantAccess<'de> for Content {
    type Error = Unfit;

    fn unit_variant(self) -> Result<(), Unfit> {
        match self.value {
            Value::Table(table) if table.0.is_empty() => Ok(()),
            _ => Err(serde::de::Error::custom(format!("the variant `{}` takes no value", self.name))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Unfit> {
        seed.deserialize(self.value).map_err(|error| error.below(&self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Unfit> {
        self.value.deserialize_any(visitor).map_err(|error| error.below(&self.name))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.value.deserialize_any(visitor).map_err(|error| error.below(&self.name))
    }
}
