//! The answer normaliser of the VQA challenge and the variant of the TextVQA evaluator, reproduced with their quirks:
//! only the first 32 periods go, and how punctuation is treated depends on the whole text.

use crate::eval::python::text::{digit, lower, split, strip};

/// The normaliser of the VQA challenge: punctuation, then number words, articles and contractions.
pub(super) fn vqa(text: &str) -> String {
    let joins_numbers = has_comma_between_digits(text);
    words(&punctuation(text, joins_numbers))
}

/// The normaliser of the TextVQA evaluator (M4C): lower case, commas and question marks off, `'s` set apart, then as above.
pub(super) fn textvqa(text: &str) -> String {
    let text = lower(text).replace([',', '?'], "").replace("'s", " 's");
    let text = text.replace(['\n', '\t'], " ");
    words(&punctuation(strip(&text), false))
}

const PUNCTUATION: [char; 20] =
    [';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',', '?'];

/// A mark that touches a space anywhere in the text (or any mark, where a comma stands between digits) is removed, else it
/// becomes a space. Then the first 32 periods that no digit follows are removed: the reference code passes a flag of
/// value 32 where the number of replacements belongs.
fn punctuation(text: &str, remove_all: bool) -> String {
    let mut out = text.to_owned();
    for mark in PUNCTUATION.into_iter().chain(['!']) {
        let beside_space = text.contains(&format!("{mark} ")) || text.contains(&format!(" {mark}"));
        out = out.replace(mark, if remove_all || beside_space { "" } else { " " });
    }
    let mut removed = 0;
    let mut kept = String::with_capacity(out.len());
    let mut letters = out.chars().peekable();
    while let Some(letter) = letters.next() {
        let before_digit = letters.peek().is_some_and(|&next| digit(next).is_some());
        if letter == '.' && !before_digit && removed < 32 {
            removed += 1;
        } else {
            kept.push(letter);
        }
    }
    kept
}

fn has_comma_between_digits(text: &str) -> bool {
    let after_digit =
        |at: usize| text[..at].chars().next_back().is_some_and(|before| digit(before).is_some());
    let before_digit = |at: usize| text[at + 1..].chars().next().is_some_and(|after| digit(after).is_some());
    text.match_indices(',').any(|(at, _)| after_digit(at) && before_digit(at))
}

/// Lower case, number words as digits, articles off, contractions with their apostrophe, one space between words.
fn words(text: &str) -> String {
    let lower = lower(text);
    let mut out = String::with_capacity(lower.len());
    for word in split(&lower) {
        let word = number(word).unwrap_or(word);
        if matches!(word, "a" | "an" | "the") {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(CONTRACTIONS.iter().find(|(bare, _)| *bare == word).map_or(word, |(_, full)| full));
    }
    out
}

fn number(word: &str) -> Option<&'static str> {
    Some(match word {
        "none" | "zero" => "0",
        "one" => "1",
        "two" => "2",
        "three" => "3",
        "four" => "4",
        "five" => "5",
        "six" => "6",
        "seven" => "7",
        "eight" => "8",
        "nine" => "9",
        "ten" => "10",
        _ => return None,
    })
}

/// The challenge's table, less its four keys with a capital (`Im`, ..), which no lower-cased word can equal, and less the keys
/// that stand for themselves.
#[rustfmt::skip]
const CONTRACTIONS: &[(&str, &str)] = &[
    ("aint", "ain't"), ("arent", "aren't"), ("cant", "can't"), ("couldve", "could've"),
    ("couldnt", "couldn't"), ("couldn'tve", "couldn't've"), ("couldnt've", "couldn't've"),
    ("didnt", "didn't"), ("doesnt", "doesn't"), ("dont", "don't"), ("hadnt", "hadn't"),
    ("hadnt've", "hadn't've"), ("hadn'tve", "hadn't've"), ("hasnt", "hasn't"), ("havent", "haven't"),
    ("hed", "he'd"), ("hed've", "he'd've"), ("he'dve", "he'd've"), ("hes", "he's"), ("howd", "how'd"),
    ("howll", "how'll"), ("hows", "how's"), ("isnt", "isn't"), ("itd", "it'd"), ("itd've", "it'd've"),
    ("it'dve", "it'd've"), ("itll", "it'll"), ("maam", "ma'am"), ("mightnt", "mightn't"),
    ("mightnt've", "mightn't've"), ("mightn'tve", "mightn't've"), ("mightve", "might've"),
    ("mustnt", "mustn't"), ("mustve", "must've"), ("neednt", "needn't"), ("notve", "not've"),
    ("oclock", "o'clock"), ("oughtnt", "oughtn't"), ("ow's'at", "'ow's'at"), ("'ows'at", "'ow's'at"),
    ("'ow'sat", "'ow's'at"), ("shant", "shan't"), ("shed've", "she'd've"), ("she'dve", "she'd've"),
    ("shouldve", "should've"), ("shouldnt", "shouldn't"), ("shouldnt've", "shouldn't've"),
    ("shouldn'tve", "shouldn't've"), ("somebody'd", "somebodyd"), ("somebodyd've", "somebody'd've"),
    ("somebody'dve", "somebody'd've"), ("somebodyll", "somebody'll"), ("somebodys", "somebody's"),
    ("someoned", "someone'd"), ("someoned've", "someone'd've"), ("someone'dve", "someone'd've"),
    ("someonell", "someone'll"), ("someones", "someone's"), ("somethingd", "something'd"),
    ("somethingd've", "something'd've"), ("something'dve", "something'd've"),
    ("somethingll", "something'll"), ("thats", "that's"), ("thered", "there'd"),
    ("thered've", "there'd've"), ("there'dve", "there'd've"), ("therere", "there're"),
    ("theres", "there's"), ("theyd", "they'd"), ("theyd've", "they'd've"), ("they'dve", "they'd've"),
    ("theyll", "they'll"), ("theyre", "they're"), ("theyve", "they've"), ("twas", "'twas"),
    ("wasnt", "wasn't"), ("wed've", "we'd've"), ("we'dve", "we'd've"), ("weve", "we've"),
    ("werent", "weren't"), ("whatll", "what'll"), ("whatre", "what're"), ("whats", "what's"),
    ("whatve", "what've"), ("whens", "when's"), ("whered", "where'd"), ("wheres", "where's"),
    ("whereve", "where've"), ("whod", "who'd"), ("whod've", "who'd've"), ("who'dve", "who'd've"),
    ("wholl", "who'll"), ("whos", "who's"), ("whove", "who've"), ("whyll", "why'll"), ("whyre", "why're"),
    ("whys", "why's"), ("wont", "won't"), ("wouldve", "would've"), ("wouldnt", "wouldn't"),
    ("wouldnt've", "wouldn't've"), ("wouldn'tve", "wouldn't've"), ("yall", "y'all"),
    ("yall'll", "y'all'll"), ("y'allll", "y'all'll"), ("yall'd've", "y'all'd've"),
    ("y'alld've", "y'all'd've"), ("y'all'dve", "y'all'd've"), ("youd", "you'd"), ("youd've", "you'd've"),
    ("you'dve", "you'd've"), ("youll", "you'll"), ("youre", "you're"), ("youve", "you've"),
];
