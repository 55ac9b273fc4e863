//! Did you mean ..: the nearest of some known names.

/// The known name closest to `word`, if it is close enough to be what was meant: a few letters off, begun and not ended
/// (`vqa` for `vqav2`), its initials (`lr` for `learning_rate`), or the word that a letter stands for (`rank` for `r`).
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    let limit = (length / 3).clamp(1, 4);
    let cost = |name: &str| {
        let name = name.to_lowercase();
        let initials: String = name.split(['_', '-']).filter_map(|part| part.chars().next()).collect();
        let letter = name.chars().count() == 1 && word.starts_with(&name);
        let meant = letter || length >= 3 && name.starts_with(&word) || length >= 2 && initials == word;
        if meant { 0 } else { distance(&word, &name) }
    };
    known
        .into_iter()
        .map(|name| (cost(name), name))
        .filter(|(cost, _)| *cost <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The end of a message about an unknown name: the nearest one, else all of them.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

/// Edits between two words; two neighbours in the wrong order count as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut cost =
                (rows[i - 1][j - 1] + usize::from(!same)).min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(rows[i - 2][j - 2] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_find_the_name_meant() {
        let known = ["batch_size", "steps", "epochs", "learning_rate"];
        assert_eq!(nearest("batchsize", known), Some("batch_size"));
        assert_eq!(nearest("setps", known), Some("steps"));
        assert_eq!(nearest("Learning-Rate", known), Some("learning_rate"));
        assert_eq!(nearest("optimizer", known), None);
        assert_eq!(nearest("lr", known), Some("learning_rate"));
        assert_eq!(nearest("vqa", ["gqa", "vqav2"]), Some("vqav2"));
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("rank", ["lora_alpha", "r"]), Some("r"));
    }

    #[test]
    fn distance_counts_edits_and_swaps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("lora", "lora"), 0);
    }
}
