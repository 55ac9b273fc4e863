use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Gives a few bytes at a time, so that every border falls between two reads.
struct Slowly<'a>(&'a [u8], usize);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (first, rest) = self.0.split_at(count);
        buffer[..count].copy_from_slice(first);
        self.0 = rest;
        Ok(count)
    }
}

fn found(text: &str, layout: Layout) -> (Vec<&str>, Option<String>) {
    let found = index(Slowly(text.as_bytes(), 1), layout);
    (found.spans.iter().map(|span| &text[span.start as usize..span.end as usize]).collect(), found.damage)
}

fn records(text: &str) -> (Vec<&str>, Option<String>) {
    found(text, Layout::Records)
}

#[test]
fn records_are_found_whatever_stands_in_their_strings() {
    let first = r#"{"a": "}],{\"\\", "b": [1, {"c": []}]}"#;
    let second = r#"{"ä": "[\\\\"}"#;
    let text = format!("\u{feff} [\n{first} ,{second}]\n");
    assert_eq!(records(&text), (vec![first, second], None));
    assert_eq!(records("[]"), (vec![], None));
    let lines = format!("{first}\n{second}\r\n\n{first}");
    assert_eq!(records(&lines), (vec![first, second, first], None));
}

#[test]
fn damage_is_named_and_whole_records_are_kept() {
    let damage = |text| {
        let (records, damage) = records(text);
        (records.len(), damage.unwrap_or_default())
    };
    for text in [r#"[{"a": 1}, {"b": "#, "{\"a\": 1}\n{\"b\": \"\\"] {
        let (count, damage) = damage(text);
        let end = text.len();
        let start = text.rfind('{').expect("a record");
        let said =
            format!("record 1 begins at byte {start} and is cut off at byte {end}, the end of the file");
        assert_eq!((count, damage), (1, said));
    }
    assert_eq!(
        damage(r#"[{"a": 1},"#),
        (1, String::from("the list is cut off after 1 records at byte 10, the end of the file"))
    );
    assert_eq!(damage(" "), (0, String::from("the file is empty")));
    assert_eq!(damage("no"), (0, String::from("byte 0: the file is not a JSON list of records")));
    assert!(damage(r#"[{"a": 1} {"b": 2}]"#).1.contains("`{` where a record was expected"));
    assert!(damage(r#"[{"a": 1},]"#).1.contains("`]` where a record was expected"));
    assert!(damage("[1]").1.contains("`1` where a record was expected"));
    assert!(damage("[]{}").1.contains("something follows"));
    assert!(damage("{}, {}").1.contains("`,` where a record was expected"));
}

#[test]
fn lists_under_a_key_and_members_are_found() {
    let text = r#"{"info": {"data": [{"no": 1}]}, "n": 5 , "data": [{"a": 1}, {"b": "]"}], "z": "data"}"#;
    assert_eq!(found(text, Layout::Under("data")), (vec![r#"{"a": 1}"#, r#"{"b": "]"}"#], None));
    assert_eq!(found(text, Layout::Under("dat")), (vec![], None));
    let text = r#"{"7" : {"answer": 1}, "10": {"answer": 0}}"#;
    assert_eq!(
        found(text, Layout::Members),
        (vec![r#""7" : {"answer": 1}"#, r#""10": {"answer": 0}"#], None)
    );
    let cut = found(&text[..text.len() - 5], Layout::Members).1.expect("damage");
    assert!(cut.contains("cut off or broken at byte"), "{cut}");
    assert!(found("[]", Layout::Members).1.expect("damage").contains("not a JSON object"));
}

fn any_record() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "[\\]\\[{}\",:\\\\ ]{0,12}"];
    let leaf = prop_oneof![text.clone().prop_map(|text| json!(text)), any::<i32>().prop_map(|n| json!(n))];
    let value = leaf.prop_recursive(3, 20, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(text, value, 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #[test]
    fn the_records_of_any_list_are_found(
        all in prop::collection::vec(any_record(), 0..8), pretty in any::<bool>(), lines in any::<bool>(), step in 1usize..9,
    ) {
        let one = |record: &Value| if pretty { serde_json::to_string_pretty(record) } else { serde_json::to_string(record) };
        let texts: Vec<String> = all.iter().map(|record| one(record).expect("JSON")).collect();
        let lines = lines && !all.is_empty();
        let text = if lines { texts.join("\n") } else { format!("[{}]", texts.join(",\n")) };
        let found = index(Slowly(text.as_bytes(), step), Layout::Records);
        prop_assert_eq!(found.damage, None);
        let spans: Vec<&str> =
            found.spans.iter().map(|span| &text[span.start as usize..span.end as usize]).collect();
        prop_assert_eq!(spans, texts);
    }

    #[test]
    fn a_cut_list_keeps_what_is_whole(all in prop::collection::vec(any_record(), 1..6), cut in 0.0..1.0) {
        let text = serde_json::to_string(&all).expect("JSON");
        let bytes = &text.as_bytes()[..(cut * text.len() as f64) as usize];
        let found = index(Slowly(bytes, 7), Layout::Records);
        prop_assert!(found.damage.is_some());
        for (span, record) in found.spans.iter().zip(&all) {
            let read: Value = serde_json::from_slice(&bytes[span.start as usize..span.end as usize]).expect("whole");
            prop_assert_eq!(&read, record);
        }
    }

    #[test]
    fn no_bytes_bring_it_down(bytes in prop::collection::vec(
        prop_oneof![prop::sample::select(b"{}[]\",:\\a1 \n".to_vec()), any::<u8>()], 0..60), step in 1usize..5)
    {
        for layout in [Layout::Records, Layout::Under("a"), Layout::Members] {
            let found = index(Slowly(&bytes, step), layout);
            prop_assert!(found.spans.iter().all(|span| span.start < span.end && span.end <= bytes.len() as u64));
        }
    }
}
