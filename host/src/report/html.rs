//! `report.html`: one file with everything in it, no scripts and nothing to load from elsewhere.

use super::difference;
use super::format::{self, Grid};
use super::results::{CellResult, PluginUse, Results};
use super::summary::{self, MatrixView};

/// The page: comparison per scorer, failures, accuracy matrices, cost of each cell, plugins and configuration.
pub fn page(results: &Results) -> String {
    let title = if results.name.is_empty() {
        "coin-host report".to_owned()
    } else {
        format!("coin-host: {}", results.name)
    };
    let title = escape(&title);
    let mut body = format!("<h1>{title}</h1>\n");
    for scorer in results.scorers() {
        body.push_str(&format!("<h2>Comparison, scorer {}</h2>\n", escape(scorer)));
        body.push_str("<p>Percent; mean ± sample standard deviation over the n finished runs.</p>\n");
        body.push_str(&table(&format::comparison(results, scorer)));
        let further = format::further(results, scorer);
        if !further.rows.is_empty() {
            body.push_str("<h3>What was gained before and lost against training together</h3>\n");
            body.push_str(&table(&further));
        }
    }
    body.push_str(LEGEND);
    if let Some(grid) = difference::grid(results) {
        body.push_str(&format!("<h2>{}</h2>\n{}", difference::TITLE, table(&grid)));
    }
    let measures = format::measures(results);
    if !measures.rows.is_empty() {
        body.push_str(&format!("<h2>{}</h2>\n{}", format::MEASURES, table(&measures)));
        let notes = format::measure_notes(results);
        let notes: String = notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
        body.push_str(&format!("<ul>{notes}</ul>\n"));
    }
    let failures = summary::failures(results);
    if !failures.is_empty() {
        body.push_str("<h2>Failed runs</h2>\n<dl class=\"failed\">\n");
        for (place, reason) in failures {
            body.push_str(&format!("<dt>{}</dt><dd><pre>{}</pre></dd>\n", escape(&place), escape(&reason)));
        }
        body.push_str("</dl>\n");
    }
    for scorer in results.scorers() {
        body.push_str(&format!("<h2>Accuracy matrices, scorer {}</h2>\n", escape(scorer)));
        for view in summary::matrices(results, scorer) {
            body.push_str(&heat_map(&view));
        }
    }
    for measure in results.measures() {
        let views = summary::matrices(results, measure);
        let maps: String = views.iter().map(heat_map).collect();
        body.push_str(&format!(
            "<details><summary>Matrices, {}</summary>\n{maps}</details>\n",
            escape(measure)
        ));
    }
    body.push_str("<h2>Runs and their cost</h2>\n");
    body.push_str(&table(&runs(results)));
    let granted = format::granted(results);
    if !granted.rows.is_empty() {
        body.push_str(&format!("<h2>Granted and used</h2>\n{}", table(&granted)));
    }
    let handovers = format::handovers(results);
    if !handovers.is_empty() {
        let lines: String = handovers.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
        body.push_str(&format!("<h2>Strict protocol</h2>\n<ul>{lines}</ul>\n"));
    }
    body.push_str("<h2>Plugins</h2>\n");
    body.push_str(&table(&plugins(results)));
    if let Some(environment) = &results.environment {
        body.push_str("<h2>Environment</h2>\n");
        let rows = environment.rows().into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        body.push_str(&table(&Grid { header: vec![String::new(); 2], rows }));
    }
    if !results.config.is_null() {
        let config = serde_json::to_string_pretty(&results.config).unwrap_or_default();
        body.push_str(&format!(
            "<h2>Configuration</h2>\n<details><summary>as resolved</summary><pre>{}</pre></details>\n",
            escape(&config)
        ));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// What the columns say; `docs/metrics.md` has the formulas and where they come from.
const LEGEND: &str = "\
<details open><summary>How to read the columns</summary>\n<dl>
<dt>n</dt><dd>finished runs that a row is the mean of</dd>
<dt>AP</dt><dd>average score of all tasks after the last stage</dd>
<dt>MAA</dt><dd>mean over the stages of the average score of the tasks learned so far</dd>
<dt>BWT/T, BWT/(T-1)</dt><dd>backward transfer: what the score of a task changed from right after its own stage to the end; negative means \
forgotten. CoIN divides the sum by the number of tasks T, GEM by T-1</dd>
<dt>forgetting</dt><dd>how far each task ends below its best earlier score; less is better</dd>
<dt>FWT</dt><dd>forward transfer: how far a task stands above zero-shot right before its own stage</dd>
<dt>intransigence</dt><dd>how far a task right after its own stage stays below joint training; less is better</dd>
<dt>intransigence (single)</dt><dd>the same against training on each task alone, where that was asked for</dd>
<dt>plasticity</dt><dd>average score of the tasks, each right after its own stage</dd>
<dt>params, stored</dt><dd>trained parameters; all that is carried from stage to stage, with the replay buffer</dd>
<dt>time, memory</dt><dd>training and evaluation of one run; its greatest use of memory</dd>
<dt>joint</dt><dd>one training on all tasks together, the usual upper bound</dd>
<dt>single</dt><dd>a training for each task alone, where that was asked for</dd>
<dt>zero-shot</dt><dd>the backbone before any training</dd>
<dt>blind</dt><dd>the most frequent training answer to each question, without looking at the picture</dd>
</dl></details>
";

const STYLE: &str = "\
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1e21; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; } tbody tr { border-bottom: 1px solid #e2e2e2; }
td.learned { outline: 2px solid #333; outline-offset: -2px; }
tr.reference { color: #555; } tr.rule { border-top: 2px solid #888; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: .6rem; }
";

fn table(grid: &Grid) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = grid.rows.iter().map(|cells| row(cells, "td")).collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead>{}</thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        row(&grid.header, "th")
    )
}

/// The matrix with cells coloured by score; the score right after learning is framed.
fn heat_map(view: &MatrixView) -> String {
    let mut rows = String::new();
    let mut row = |class: &str, name: &str, scores: &[Option<f64>], learned: Option<usize>| {
        let cells: String = scores
            .iter()
            .enumerate()
            .map(|(at, score)| {
                let class = if learned == Some(at) { " class=\"learned\"" } else { "" };
                format!("<td{class}{}>{}</td>", colour(*score), format::score(*score))
            })
            .collect();
        rows.push_str(&format!("<tr class=\"{class}\"><td>{}</td>{cells}</tr>\n", escape(name)));
    };
    row("reference", "zero-shot", &view.zero_shot, None);
    for (stage, (task, scores)) in view.tasks.iter().zip(&view.rows).enumerate() {
        row("", &format!("after {task}"), scores, Some(stage));
    }
    for (name, scores) in [("joint", &view.joint), ("blind", &view.blind)] {
        if scores.iter().any(Option::is_some) {
            row("reference", name, scores, None);
        }
    }
    let items: String = view.items.iter().map(|items| format!("<td>{items}</td>")).collect();
    rows.push_str(&format!("<tr class=\"reference rule\"><td>items</td>{items}</tr>\n"));
    let header: String = view.tasks.iter().map(|task| format!("<th>{}</th>", escape(task))).collect();
    format!(
        "<h3>{}</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th></th>{header}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n",
        escape(&format::matrix_title(view))
    )
}

/// White at 0, through yellow to green at 100: one hue range, readable without telling red from green.
fn colour(score: Option<f64>) -> String {
    let Some(score) = score else {
        return String::new();
    };
    let share = score.clamp(0.0, 100.0) / 100.0;
    let (hue, lightness) = (60.0 + 90.0 * share, 100.0 - 35.0 * share);
    format!(" style=\"background:hsl({hue:.0} 65% {lightness:.0}%)\"")
}

fn runs(results: &Results) -> Grid {
    let header = [
        "run",
        "status",
        "params",
        "stored",
        "replay",
        "extra rows",
        "training",
        "evaluation",
        "pictures",
        "memory",
    ];
    let has_flips = results.cells.iter().any(|cell| cell.flips.is_some());
    let row = |cell: &CellResult| {
        let cost = &cell.cost;
        let mut row = vec![
            format!("{}, {}, seed {}", cell.method, cell.order, cell.seed),
            format!("{:?}", cell.status).to_lowercase(),
            format::count(cost.trainable_parameters as f64),
            format::bytes(cost.stored_bytes as f64),
            format::bytes(cost.replay_bytes as f64),
            cost.extra_rows.to_string(),
            format::duration(cost.train_seconds),
            format::duration(cost.eval_seconds),
            format::duration(cost.picture_seconds),
            format::bytes(cost.peak_memory_bytes as f64),
        ];
        if has_flips {
            row.push(format::flips(cell.flips));
        }
        row
    };
    let mut header = header.map(str::to_owned).to_vec();
    header.extend(has_flips.then(|| "flips".to_owned()));
    Grid { header, rows: results.cells.iter().map(row).collect() }
}

/// Each method's stack and where its plugins came from; runs of one method that differ are listed apart.
fn plugins(results: &Results) -> Grid {
    type Field = fn(&PluginUse) -> String;
    let fields: [(&str, Field); 7] = [
        ("version", |plugin| plugin.version.clone()),
        ("api", |plugin| plugin.api.clone()),
        ("accepted as", |plugin| plugin.trust.clone()),
        ("capabilities", |plugin| plugin.capabilities.join(", ")),
        ("sha256", |plugin| plugin.sha256.clone()),
        ("signed by", |plugin| plugin.key.clone()),
        ("source", |plugin| plugin.source.clone()),
    ];
    let used =
        || results.cells.iter().flat_map(|cell| cell.plugins.iter().map(|plugin| (&cell.method, plugin)));
    // What is known of none is left out.
    let known = |field: &&(&str, Field)| used().any(|(_, plugin)| !field.1(plugin).is_empty());
    let fields: Vec<_> = fields.iter().filter(known).collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (method, plugin) in used() {
        let row = [method.clone(), plugin.name.clone()].into_iter();
        let row: Vec<String> = row.chain(fields.iter().map(|(_, of)| of(plugin))).collect();
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let header = ["method", "plugin"].into_iter().chain(fields.iter().map(|(name, _)| *name));
    Grid { header: header.map(str::to_owned).collect(), rows }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}
