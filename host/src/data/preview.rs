//! A page with some records of each task: pictures, prompts and answers, as a run sees them.

use std::io::Cursor;
use std::path::Path;

use coin_plugin_api::Record;
use image::{ImageFormat, RgbImage};

use crate::data::image::{self as picture, Limits};

/// Longest side of a picture on the page, in pixels.
const SIDE: u32 = 320;

/// A task on the page.
pub struct Shown {
    pub name: String,
    /// What stands below the name.
    pub about: String,
    pub items: Vec<Item>,
}

/// A record on the page.
pub struct Item {
    pub prompt: String,
    pub record: Record,
    /// As a `data:` address, with width and height; or why there is none.
    pub picture: Option<Result<(String, u32, u32), String>>,
}

impl Item {
    /// A record with its picture below the root.
    pub fn new(record: Record, prompt: String, root: &Path) -> Item {
        let picture = record.image.as_ref().map(|image| {
            let read = picture::read(&root.join(image), Limits::default()).and_then(|read| address(&read));
            read.map_err(|error| error.to_string().lines().next().unwrap_or_default().to_string())
        });
        Item { prompt, record, picture }
    }
}

fn address(read: &RgbImage) -> anyhow::Result<(String, u32, u32)> {
    let (width, height) = read.dimensions();
    let scale = f64::from(SIDE) / f64::from(width.max(height).max(SIDE));
    let scaled = |side: u32| ((f64::from(side) * scale) as u32).max(1);
    let small = ::image::imageops::thumbnail(read, scaled(width), scaled(height));
    let mut bytes = Cursor::new(Vec::new());
    small.write_to(&mut bytes, ImageFormat::Jpeg)?;
    Ok((format!("data:image/jpeg;base64,{}", base64(bytes.get_ref())), small.width(), small.height()))
}

/// One file with everything in it, no scripts and nothing to load from elsewhere.
pub fn page(title: &str, tasks: &[Shown]) -> String {
    let mut body = format!("<h1>{}</h1>\n", escape(title));
    for task in tasks {
        body.push_str(&format!("<h2>{}</h2>\n<p>{}</p>\n", escape(&task.name), escape(&task.about)));
        task.items.iter().for_each(|item| body.push_str(&article(item)));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\n<style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escape(title)
    )
}

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:64em;padding:0 1em}\
article{display:flex;gap:1em;border-top:1px solid #ccc;padding:.8em 0}figure{margin:0;flex:0 0 320px}\
pre{white-space:pre-wrap;margin:.2em 0}svg{max-width:100%;height:auto}.id{color:#777}.answer{color:#064}.missing{color:#a00}";

fn article(item: &Item) -> String {
    let Record { id, image, answers, options, .. } = &item.record;
    let figure = match &item.picture {
        None => String::from("no picture"),
        Some(Err(why)) => format!("<span class=\"missing\">{}</span>", escape(why)),
        Some(Ok((address, width, height))) => format!(
            "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\"><image href=\"{address}\" width=\"{width}\" height=\"{height}\"/>{}</svg>",
            item.record.bbox.map(|bbox| outline(bbox, *width, *height)).unwrap_or_default()
        ),
    };
    let name = image.as_deref().map(|image| format!(" · {}", escape(image))).unwrap_or_default();
    let mut lines = vec![
        format!("<div class=\"id\">{}{name}</div>", escape(id)),
        format!("<pre>{}</pre>", escape(&item.prompt.replace(coin_plugin_api::TURN, "\n▸ "))),
        format!("<div class=\"answer\">→ {}</div>", escape(answers.first().map_or("", String::as_str))),
    ];
    if answers.len() > 1 {
        lines.push(format!("<div class=\"id\">accepted: {}</div>", escape(&answers.join(" | "))));
    }
    if !options.is_empty() {
        lines.push(format!("<div class=\"id\">options: {}</div>", escape(&options.join(" | "))));
    }
    format!("<article><figure>{figure}</figure><div>{}</div></article>\n", lines.join("\n"))
}

/// A box in `0..1` of the picture padded to a square, on the picture itself.
fn outline([left, top, right, bottom]: [f64; 4], width: u32, height: u32) -> String {
    let side = f64::from(width.max(height));
    let (x, y) = ((side - f64::from(width)) / 2.0, (side - f64::from(height)) / 2.0);
    format!(
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"none\" stroke=\"#f30\" stroke-width=\"2\"/>",
        left * side - x,
        top * side - y,
        (right - left) * side,
        (bottom - top) * side
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn a_page_holds_pictures_boxes_and_escaped_texts() {
        let folder = tempfile::tempdir().unwrap();
        RgbImage::new(640, 320).save_with_format(folder.path().join("a.png"), ImageFormat::Png).unwrap();
        let record = |image: &str| Record {
            id: "7".into(),
            image: Some(image.into()),
            answers: vec!["<b>".into()],
            bbox: Some([0.25, 0.25, 0.75, 0.75]),
            ..Record::default()
        };
        let items = ["a.png", "b.png"]
            .map(|image| Item::new(record(image), String::from("a < b\u{1e}yes\u{1e}why?"), folder.path()));
        let page = page("t", &[Shown { name: "gqa".into(), about: "x".into(), items: items.into() }]);
        for part in [
            "data:image/jpeg;base64,/9j/",
            "<rect x=\"80.0\" y=\"0.0\" width=\"160.0\" height=\"160.0\"",
            "a &lt; b\n▸ yes\n▸ why?",
            "→ &lt;b&gt;",
            "b.png` cannot be read",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("http") && !page.contains("<script"));
    }
}
