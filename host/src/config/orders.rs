//! Task orders: by name, drawn, or written out.

use crate::config::raw::RawOrder;
use crate::config::{ConfigError, Order, nearest};
use crate::stream::random::Draws;

/// The orders that have names, embedded.
pub const NAMED: &str = include_str!("../../../configs/orders.toml");

const MOST_DRAWN: usize = 1000;

/// Resolves one item of `orders`. `tasks`: all of the run's configuration as written; `selected`: those that run.
/// `seed` is what `random:N` draws from.
pub(crate) fn resolve(
    order: &RawOrder,
    number: usize,
    tasks: &[String],
    selected: &[String],
    seed: u64,
) -> Result<Vec<Order>, ConfigError> {
    let (name, sequence) = match order {
        RawOrder::Name(name) => {
            if let Some(count) = name.strip_prefix("random:") {
                return draw(count, selected, seed);
            }
            (name.clone(), named(name, tasks)?)
        }
        RawOrder::Tasks(sequence) => (format!("order-{number}"), written_out(sequence, tasks)?),
        RawOrder::Named { name, tasks: sequence } => {
            crate::config::check::check_name(name)?;
            (name.clone(), written_out(sequence, tasks)?)
        }
    };
    Ok(vec![Order { name, tasks: sequence.into_iter().filter(|task| selected.contains(task)).collect() }])
}

fn catalogue() -> Result<toml::Table, ConfigError> {
    toml::from_str(NAMED)
        .map_err(|fault| ConfigError::new(format!("configs/orders.toml: {}", fault.message())))
}

/// The run's tasks in the relative order of a named one.
fn named(name: &str, tasks: &[String]) -> Result<Vec<String>, ConfigError> {
    if name == "written" {
        return Ok(tasks.to_vec());
    }
    let catalogue = catalogue()?;
    let Some(sequence) = catalogue.get(name).and_then(toml::Value::as_array) else {
        let known: Vec<&str> = catalogue.keys().map(String::as_str).chain(["written", "random:N"]).collect();
        return Err(ConfigError::new(format!("there is no order `{name}`")).hint(nearest::hint(name, known)));
    };
    let sequence: Vec<&str> = sequence.iter().filter_map(toml::Value::as_str).collect();
    if let Some(task) = tasks.iter().find(|task| !sequence.contains(&task.as_str())) {
        return Err(ConfigError::new(format!("the order `{name}` has no place for the task `{task}`"))
            .hint("`written` takes the tasks as they stand in the file; a list of names is an order too"));
    }
    Ok(sequence
        .into_iter()
        .filter(|task| tasks.iter().any(|known| known == task))
        .map(String::from)
        .collect())
}

/// A list of names, which has to hold each task once.
fn written_out(sequence: &[String], tasks: &[String]) -> Result<Vec<String>, ConfigError> {
    for (index, task) in sequence.iter().enumerate() {
        if !tasks.contains(task) {
            return Err(ConfigError::new(format!("the order names an unknown task `{task}`"))
                .hint(nearest::hint(task, tasks.iter().map(String::as_str))));
        }
        if sequence[..index].contains(task) {
            return Err(ConfigError::new(format!("the order names the task `{task}` twice")));
        }
    }
    if let Some(task) = tasks.iter().find(|task| !sequence.contains(task)) {
        return Err(ConfigError::new(format!("the order leaves out the task `{task}`"))
            .hint("an order holds every task; `--tasks` picks some of them for a run"));
    }
    Ok(sequence.to_vec())
}

/// `count` different orders. They depend on the names of the tasks and the seed, not on how the file lists them.
fn draw(count: &str, tasks: &[String], seed: u64) -> Result<Vec<Order>, ConfigError> {
    let wrong = || ConfigError::new(format!("`random:{count}` is no order")).hint("for example `random:3`");
    let count: usize = count.parse().ok().filter(|&count| count > 0).ok_or_else(wrong)?;
    let possible = (1..=tasks.len()).fold(1usize, usize::saturating_mul);
    if count > possible.min(MOST_DRAWN) {
        return Err(ConfigError::new(format!(
            "`random:{count}` asks for more than the {} different orders to be had",
            possible.min(MOST_DRAWN)
        )));
    }
    let mut orders: Vec<Order> = Vec::new();
    let mut attempt = 0;
    while orders.len() < count {
        let mut sequence = tasks.to_vec();
        sequence.sort();
        Draws::new(seed, "order", &[attempt]).shuffle(&mut sequence);
        attempt += 1;
        if orders.iter().all(|order| order.tasks != sequence) {
            orders.push(Order { name: format!("random-{}", orders.len() + 1), tasks: sequence });
        }
    }
    Ok(orders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_string()).collect()
    }

    fn one(order: &str, tasks: &[&str]) -> Result<Vec<String>, ConfigError> {
        let tasks = names(tasks);
        resolve(&RawOrder::Name(order.into()), 1, &tasks, &tasks, 0).map(|mut orders| orders.remove(0).tasks)
    }

    #[test]
    fn the_two_named_orders_hold_the_same_eight_tasks() {
        let catalogue = catalogue().unwrap();
        let of = |name: &str| -> Vec<String> { catalogue[name].clone().try_into().unwrap() };
        let mut coin = of("coin");
        assert_eq!(coin[0], "scienceqa");
        assert_eq!(coin[7], "ocrvqa");
        coin.sort();
        assert_eq!(coin, of("alphabetical"));
        assert_eq!(coin.len(), 8);
    }

    #[test]
    fn a_named_order_places_the_tasks_there_are() {
        assert_eq!(one("coin", &["gqa", "vizwiz", "textvqa"]).unwrap(), ["textvqa", "gqa", "vizwiz"]);
        assert_eq!(one("written", &["b", "a"]).unwrap(), ["b", "a"]);
        assert!(
            one("coin", &["gqa", "mine"]).unwrap_err().to_string().contains("no place for the task `mine`")
        );
        assert!(one("coins", &["gqa"]).unwrap_err().to_string().contains("did you mean `coin`?"));
    }

    #[test]
    fn a_list_has_to_hold_each_task_once() {
        let tasks = names(&["gqa", "vizwiz"]);
        let fault = |sequence: &[&str]| {
            resolve(&RawOrder::Tasks(names(sequence)), 1, &tasks, &tasks, 0).unwrap_err().to_string()
        };
        assert!(fault(&["gqa", "vizwizz"]).contains("unknown task `vizwizz`\nhint: did you mean `vizwiz`?"));
        assert!(fault(&["gqa", "gqa"]).contains("twice"));
        assert!(fault(&["gqa"]).contains("leaves out the task `vizwiz`"));
    }

    #[test]
    fn drawn_orders_differ_and_repeat_with_the_seed() {
        let tasks = names(&["a", "b", "c"]);
        let drawn = |count: &str, tasks: &[String], seed| draw(count, tasks, seed).unwrap();
        let all = drawn("6", &tasks, 3);
        for (index, order) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.tasks != order.tasks));
        }
        let mut shuffled = tasks.clone();
        shuffled.reverse();
        assert_eq!(drawn("2", &tasks, 3), drawn("2", &shuffled, 3));
        assert_ne!(drawn("6", &tasks, 3), drawn("6", &tasks, 4));
        assert!(draw("7", &tasks, 3).is_err());
        assert!(draw("0", &tasks, 3).is_err());
        assert!(draw("x", &tasks, 3).is_err());
    }

    #[test]
    fn tasks_left_out_of_the_run_are_left_out_of_its_orders() {
        let tasks = names(&["gqa", "vizwiz", "textvqa"]);
        let orders =
            resolve(&RawOrder::Name("coin".into()), 1, &tasks, &names(&["vizwiz", "textvqa"]), 0).unwrap();
        assert_eq!(orders[0].tasks, ["textvqa", "vizwiz"]);
    }
}
