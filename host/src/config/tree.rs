//! A configuration file as a tree of values, with the line of each.

use toml_edit::{Document, InlineTable, Item, Value};

use crate::config::origin::join;
use crate::config::{ConfigError, Origin, Origins};

/// The values of one or several sources, in written order, and where each comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) values: InlineTable,
    pub(crate) origins: Origins,
}

impl Tree {
    /// Reads TOML. `file` is the name that messages give the text.
    pub(crate) fn parse(text: &str, file: &str) -> Result<Tree, ConfigError> {
        let lines = Lines { text, file };
        let document = Document::parse(text).map_err(|fault| {
            let at = fault.span().map_or(0, |span| span.start);
            ConfigError::new(format!("not valid TOML: {}", fault.message()))
                .at(&lines.origin(at))
                .hint("`configs/quickstart.toml` is a whole file to compare with")
        })?;
        let mut origins = Origins::default();
        lines.record(document.as_item(), "", &mut origins);
        match document.into_item().into_value() {
            Ok(Value::InlineTable(values)) => Ok(Tree { values, origins }),
            _ => Err(ConfigError::new(format!("`{file}` is not a table"))),
        }
    }

    /// Puts another tree in the place of a table of this one, with its origins.
    pub(crate) fn graft(&mut self, path: &str, branch: Tree, root: Origin) -> Result<(), ConfigError> {
        let segments: Vec<&str> = path.split('.').collect();
        let (last, tables) = segments.split_last().ok_or_else(|| ConfigError::new("an empty key"))?;
        let mut table = &mut self.values;
        for segment in tables {
            let inner = table.get_or_insert(*segment, InlineTable::new());
            table = inner
                .as_inline_table_mut()
                .ok_or_else(|| ConfigError::new(format!("`{segment}` is not a table")))?;
        }
        self.origins.set(path, root);
        record_again(&branch, &Value::InlineTable(branch.values.clone()), "", path, &mut self.origins);
        table.insert(*last, Value::InlineTable(branch.values));
        Ok(())
    }
}

fn record_again(branch: &Tree, value: &Value, from: &str, to: &str, origins: &mut Origins) {
    if !from.is_empty() {
        origins.set(to, branch.origins.of(from).clone());
    }
    match value {
        Value::InlineTable(table) => {
            for (key, value) in table {
                record_again(branch, value, &join(from, key), &join(to, key), origins);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let index = index.to_string();
                record_again(branch, value, &join(from, &index), &join(to, &index), origins);
            }
        }
        _ => {}
    }
}

struct Lines<'a> {
    text: &'a str,
    file: &'a str,
}

impl Lines<'_> {
    fn origin(&self, at: usize) -> Origin {
        let at = at.min(self.text.len());
        let line = 1 + self.text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        Origin::File { file: self.file.to_string(), line }
    }

    fn record(&self, item: &Item, path: &str, origins: &mut Origins) {
        if let Some(table) = item.as_table_like() {
            for (name, _) in table.iter() {
                let Some((key, inner)) = table.get_key_value(name) else { continue };
                let path = join(path, name);
                // A header names every table on its way; the value's own place is the line to look at.
                let span =
                    if inner.is_table() { inner.span().or(key.span()) } else { key.span().or(inner.span()) };
                if let Some(span) = span {
                    origins.open(&path, self.origin(span.start));
                }
                self.record(inner, &path, origins);
            }
        } else if let Some(tables) = item.as_array_of_tables() {
            for (index, table) in tables.iter().enumerate() {
                let path = join(path, &index.to_string());
                if let Some(span) = table.span() {
                    origins.open(&path, self.origin(span.start));
                }
                self.record(&Item::Table(table.clone()), &path, origins);
            }
        } else if let Some(items) = item.as_array() {
            for (index, value) in items.iter().enumerate() {
                let path = join(path, &index.to_string());
                if let Some(span) = value.span() {
                    origins.open(&path, self.origin(span.start));
                }
                self.record(&Item::Value(value.clone()), &path, origins);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tree: &Tree, path: &str) -> usize {
        match tree.origins.of(path) {
            Origin::File { line, .. } => *line,
            _ => 0,
        }
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "name = 'a'\n\n[training]\nsteps = 3\n\n[methods.lora]\nstack = [\n  { plugin = 'lora', r = 16 },\n  { plugin = 'ewc' },\n]\n";
        let tree = Tree::parse(text, "run.toml").unwrap();
        assert_eq!(line(&tree, "name"), 1);
        assert_eq!(line(&tree, "training"), 3);
        assert_eq!(line(&tree, "training.steps"), 4);
        assert_eq!(line(&tree, "methods.lora"), 6);
        assert_eq!(line(&tree, "methods.lora.stack.0.r"), 8);
        assert_eq!(line(&tree, "methods.lora.stack.1.plugin"), 9);
    }

    #[test]
    fn arrays_of_tables_are_lists_too() {
        let tree = Tree::parse(
            "[[methods.lora.stack]]\nplugin = 'lora'\n[[methods.lora.stack]]\nplugin = 'ewc'\n",
            "f",
        )
        .unwrap();
        assert_eq!(line(&tree, "methods.lora.stack.1.plugin"), 4);
        assert!(tree.values.to_string().contains("ewc"));
    }

    #[test]
    fn what_is_no_toml_is_named_with_its_line() {
        let fault = Tree::parse("a = 1\nb = = 2\n", "run.toml").unwrap_err();
        assert!(fault.to_string().starts_with("run.toml:2: not valid TOML"), "{fault}");
        let fault = Tree::parse("a = 1\na = 2\n", "run.toml").unwrap_err();
        assert!(fault.to_string().starts_with("run.toml:2: not valid TOML: duplicate key"), "{fault}");
    }

    #[test]
    fn a_grafted_branch_keeps_its_lines() {
        let mut tree = Tree::parse("[methods.lora]\nfile = 'lora.toml'\n", "run.toml").unwrap();
        let branch = Tree::parse("\nstack = [{ plugin = 'lora' }]\n", "lora.toml").unwrap();
        tree.graft("methods.lora", branch, Origin::Default).unwrap();
        assert_eq!(tree.origins.of("methods.lora.stack.0.plugin").to_string(), "lora.toml:2");
        assert!(!tree.values.to_string().contains("file"));
    }
}
