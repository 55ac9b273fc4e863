//! The declarations of libtorch's operators, as its headers state them: `softmax.int(Tensor self, int dim, ScalarType? dtype=None) ->
//! Tensor`. The dispatcher believes what it is called with, so `call_op` checks arguments against these first.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

/// One declaration a line, gathered by the build script from the headers of the libtorch that the host is built with.
const DECLARATIONS: &str = include_str!(concat!(env!("OUT_DIR"), "/operators.txt"));

/// An operator that `call_op` can call.
#[derive(Debug)]
pub(super) struct Operator {
    /// As the header states it.
    pub(super) declaration: &'static str,
    /// Parameters in order.
    pub(super) parameters: Vec<Parameter>,
    /// How many tensors it returns.
    pub(super) results: usize,
}

/// A parameter of an operator.
#[derive(Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// Without `?`: `Tensor`, `int`, `bool`, or a type that `call_op` can only leave out.
    pub(super) type_name: String,
    pub(super) optional: bool,
}

/// Finds an operator by name, with or without `aten::`, and overload.
///
/// # Errors
/// No such operator; one that draws random numbers, writes to its arguments, returns memory that nobody wrote, or returns something
/// else than tensors.
pub(super) fn find(name: &str, overload: &str) -> Result<Operator> {
    let name = name.strip_prefix("aten::").unwrap_or(name);
    let key = if overload.is_empty() { name.to_owned() } else { format!("{name}.{overload}") };
    let Some(declaration) = declarations().get(key.as_str()).copied() else { return Err(unknown(name)) };
    let (_, signature) = declaration.split_once('(').context("an operator without parameters")?;
    let plain = without_aliases(signature);
    let (parameters, results) = plain.rsplit_once(") -> ").context("an operator without results")?;
    let parameters =
        split(parameters).filter(|text| *text != "*").map(parameter).collect::<Result<Vec<_>>>()?;
    ensure!(
        !draws(name, &parameters),
        "it draws random numbers\nhint: draw through the step or the stage, which repeat"
    );
    ensure!(
        !declaration.contains("!)"),
        "it writes to its arguments\nhint: take the form that returns its result"
    );
    ensure!(
        !name.trim_start_matches("new_").starts_with("empty"),
        "it returns memory that nobody wrote\nhint: zeros"
    );
    let results: Vec<&str> = split(results.trim_matches(['(', ')'])).collect();
    for result in &results {
        let returned = result.split(' ').next().unwrap_or_default();
        ensure!(returned == "Tensor", "it returns `{returned}`, and only tensors can be returned");
    }
    Ok(Operator { declaration, parameters, results: results.len() })
}

fn declarations() -> &'static BTreeMap<&'static str, &'static str> {
    static MAP: OnceLock<BTreeMap<&'static str, &'static str>> = OnceLock::new();
    MAP.get_or_init(|| {
        DECLARATIONS.lines().filter_map(|line| Some((line.split_once('(')?.0, line))).collect()
    })
}

fn unknown(name: &str) -> anyhow::Error {
    if DECLARATIONS.is_empty() {
        return anyhow::anyhow!(
            "this host was built without the headers of libtorch, which declare its operators"
        );
    }
    let overloads: Vec<&str> = declarations()
        .keys()
        .filter(|key| key.split('.').next() == Some(name) && find_named(key).is_some())
        .map(|key| key.split_once('.').map_or("\"\"", |(_, overload)| overload))
        .collect();
    if overloads.is_empty() {
        return anyhow::anyhow!("this libtorch has no such operator");
    }
    anyhow::anyhow!("no such overload\nhint: aten::{name} has {}", overloads.join(", "))
}

fn find_named(key: &str) -> Option<Operator> {
    let (name, overload) = key.split_once('.').unwrap_or((key, ""));
    find(name, overload).ok()
}

/// torchgen tags operators by the same rule: `rand` or `dropout` in the name, or a generator among the parameters.
fn draws(name: &str, parameters: &[Parameter]) -> bool {
    const FAMILIES: [&str; 9] = [
        "rand",
        "dropout",
        "bernoulli",
        "binomial",
        "multinomial",
        "poisson",
        "rrelu",
        "dirichlet",
        "standard_gamma",
    ];
    FAMILIES.iter().any(|family| name.contains(family))
        || matches!(name, "normal" | "log_normal" | "uniform" | "cauchy" | "exponential" | "geometric")
        || parameters
            .iter()
            .any(|parameter| parameter.type_name == "Generator" || parameter.name.starts_with("dropout"))
}

/// Reads `ScalarType? dtype=None`.
fn parameter(text: &str) -> Result<Parameter> {
    let (type_name, rest) = text.split_once(' ').context("a parameter without a name")?;
    let name = rest.split('=').next().unwrap_or_default().to_owned();
    let optional = type_name.ends_with('?');
    Ok(Parameter { name, type_name: type_name.trim_end_matches('?').to_owned(), optional })
}

/// A signature that says `Tensor` where it said `Tensor(a!)`, `Tensor(a -> *)` and the like.
fn without_aliases(signature: &str) -> String {
    let mut parts = signature.split("Tensor(");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("Tensor");
        plain.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    plain
}

/// The parts of a list, whose default values may be lists themselves.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |character| {
        match character {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        depth == 0 && character == ','
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_with_defaults_aliases_and_several_results() {
        let softmax = find("aten::softmax", "int").unwrap();
        let names: Vec<_> =
            softmax.parameters.iter().map(|p| (p.name.as_str(), p.type_name.as_str(), p.optional)).collect();
        assert_eq!(names, [("self", "Tensor", false), ("dim", "int", false), ("dtype", "ScalarType", true)]);
        assert_eq!(softmax.results, 1);
        assert_eq!(find("topk", "").unwrap().results, 2);
        assert_eq!(find("transpose", "int").unwrap().parameters[0].type_name, "Tensor");
        let pooling = find("avg_pool2d", "").unwrap();
        assert_eq!(pooling.parameters[2].name, "stride");
    }

    #[test]
    fn operators_that_a_plugin_must_not_call_are_refused_with_the_reason() {
        for (name, overload, reason) in [
            ("nope", "", "no such operator"),
            ("mul", "Nope", "aten::mul has Scalar, Tensor"),
            ("mul_", "Tensor", "writes to its arguments"),
            ("mul", "out", "writes to its arguments"),
            ("bernoulli", "", "draws random numbers"),
            ("rand_like", "", "draws random numbers"),
            ("native_dropout", "", "draws random numbers"),
            ("multinomial", "", "draws random numbers"),
            ("normal", "Tensor_Tensor", "draws random numbers"),
            ("rrelu", "", "draws random numbers"),
            ("lstm", "input", "draws random numbers"),
            ("empty_like", "", "memory that nobody wrote"),
            ("chunk", "", "returns `Tensor[]`"),
            ("is_complex", "", "returns `bool`"),
        ] {
            let error = find(name, overload).unwrap_err().to_string();
            assert!(error.contains(reason), "{name}.{overload}: {error}");
        }
    }

    #[test]
    fn every_declaration_can_be_read() {
        assert!(declarations().len() > 1000, "{}", declarations().len());
        for (key, declaration) in declarations() {
            let (name, overload) = key.split_once('.').unwrap_or((key, ""));
            if let Err(error) = find(name, overload) {
                let expected = ["random", "writes", "nobody wrote", "only tensors"];
                assert!(
                    expected.iter().any(|text| error.to_string().contains(text)),
                    "{declaration}: {error}"
                );
            }
        }
    }
}
