//! Which training records are set aside for validation.

use crate::json::{Value, pick};
use crate::text::inside;

/// Whether a record of the training file belongs to the validation part. All questions on a picture go the same way, whatever their
/// order in the file.
///
/// What cannot be read stays in train, where reading it is an error.
pub(crate) fn held_out(record: &[u8], number: usize, fraction: f64) -> bool {
    let Ok(keys) = pick(record, ["image", "question_id", "id"]) else { return false };
    let [image, question, id] = keys.each_ref().map(Value::scalar);
    let name = match image {
        Some(image) => inside(image).unwrap_or_else(|_| image.to_string()),
        None => question.or(id).map_or_else(|| number.to_string(), String::from),
    };
    uniform(&name) < fraction
}

/// A number in `[0, 1)` that follows from the text: FNV-1a, mixed by the last step of SplitMix64 (Steele et al. 2014).
fn uniform(text: &str) -> f64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut bits = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_held_out(image: Option<&str>, id: &str, number: usize, fraction: f64) -> bool {
        let text = serde_json::json!({"id": id, "image": image}).to_string();
        held_out(text.as_bytes(), number, fraction)
    }

    #[test]
    fn about_the_fraction_is_held_out_and_pictures_stay_together() {
        let held = (0..20_000).filter(|i| is_held_out(Some(&format!("a/{i}.jpg")), "", 0, 0.05)).count();
        assert!((900..1_100).contains(&held), "{held}");
        for i in 0..200 {
            let image = format!("a/{i}.jpg");
            let other = format!("./a/{i}.jpg");
            assert_eq!(is_held_out(Some(&image), "1", 1, 0.5), is_held_out(Some(&other), "2", 2, 0.5));
        }
        assert!((0..200).all(|i| !is_held_out(None, &i.to_string(), i, 0.0)));
        assert!(!held_out(b"{\"image\": \"a", 0, 1.0));
    }
}
