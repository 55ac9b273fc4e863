//! Signatures in minisign's format: over a package's manifest, which has size and sha256 of every other file. Public keys are what
//! `coin-host plugin keygen` and `minisign -G` write.

use std::fmt;
use std::io::Cursor;

use minisign::{PublicKey, PublicKeyBox, SecretKey, SignatureBox};

use super::verify;

/// No signature file is larger.
pub const LARGEST: u64 = 4 << 10;
/// Lengths of the two lines in base64: 74 bytes of algorithm, key id and signature; 64 of the signature over the trusted comment.
const SIGNATURE_LINE: usize = 100;
const COMMENT_SIGNATURE_LINE: usize = 88;
const KEY_LENGTH: usize = 56;

/// A public key.
#[derive(Clone)]
pub struct Key(PublicKey);

impl Key {
    /// From the line that begins with `RW`, or from a `.pub` file, whose second line it is.
    ///
    /// # Errors
    /// That it is no key, with a hint.
    pub fn parse(text: &str) -> Result<Key, String> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let line = match lines[..] {
            [line] => line,
            [comment, line] if comment.starts_with("untrusted comment:") => line,
            _ => "",
        };
        let key = (line.len() == KEY_LENGTH).then(|| PublicKey::from_base64(line).ok()).flatten();
        // `Ed` is the one kind of key there is.
        key.filter(|key| key.to_bytes().starts_with(b"Ed")).map(Key).ok_or_else(|| {
            String::from(
                "not a public key of minisign\nhint: give the line of 56 characters that begins with RW, or the .pub file it stands in",
            )
        })
    }

    /// The line of a `.pub` file.
    pub fn line(&self) -> String {
        self.0.to_base64()
    }

    /// The content of a `.pub` file.
    pub fn file(&self) -> String {
        self.0.to_box().map(PublicKeyBox::into_string).unwrap_or_default()
    }

    /// What identifies it: sha256 of the 32 bytes that signatures are checked with. The id that minisign shows can be chosen freely.
    pub fn fingerprint(&self) -> String {
        verify::sha256(&self.0.to_bytes()[10..])
    }

    /// As `minisign` shows it.
    pub fn id(&self) -> String {
        id(self.0.keynum())
    }

    /// The public part of a secret key.
    ///
    /// # Errors
    /// A damaged key.
    pub fn of(secret: &SecretKey) -> Result<Key, String> {
        PublicKey::from_secret_key(secret).map(Key).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

fn id(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

/// A signature that was read, not yet checked.
pub struct Signature(SignatureBox);

impl Signature {
    /// The content of a `.minisig` file.
    ///
    /// # Errors
    /// That it is none, with a hint.
    pub fn parse(text: &str) -> Result<Signature, String> {
        let unsound = || {
            String::from(
                "not a signature of minisign\nhint: get the package again, or sign it anew with `coin-host plugin pack --sign`",
            )
        };
        let lines: Vec<&str> = text.lines().collect();
        let [_, signature, _, comment] = lines[..] else { return Err(unsound()) };
        // The library takes other lengths, then reads beyond what is short and leaves the end of what is long.
        let is_whole = |line: &str, length: usize, padding: &str| {
            line.len() == length && line.trim_end_matches('=').len() + padding.len() == length
        };
        if !is_whole(signature, SIGNATURE_LINE, "=") || !is_whole(comment, COMMENT_SIGNATURE_LINE, "==") {
            return Err(unsound());
        }
        let signature = SignatureBox::from_string(text).map_err(|_| unsound())?;
        // It takes bytes behind a signature, and blanks, for nothing: one signature has one text.
        let canonical = signature.to_string();
        if canonical.lines().ne(lines) { Err(unsound()) } else { Ok(Signature(signature)) }
    }

    /// The id of the key that it says it was made with.
    pub fn id(&self) -> String {
        id(self.0.keynum())
    }

    /// Whether this key made it, over these bytes.
    pub fn verifies(&self, key: &Key, bytes: &[u8]) -> bool {
        minisign::verify(&key.0, &self.0, Cursor::new(bytes), true, false, false).is_ok()
    }
}

/// Signs some bytes; `comment` is covered by the signature.
///
/// # Errors
/// A secret key that is damaged or still encrypted.
pub fn sign(secret: &SecretKey, bytes: &[u8], comment: &str) -> anyhow::Result<String> {
    let key = PublicKey::from_secret_key(secret)?;
    let untrusted = format!("signature from minisign secret key {}", id(key.keynum()));
    let signature = minisign::sign(Some(&key), secret, Cursor::new(bytes), Some(comment), Some(&untrusted))?;
    Ok(signature.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (SecretKey, Key) {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
        (pair.sk, Key(pair.pk))
    }

    #[test]
    fn a_signature_holds_for_its_bytes_and_its_key() {
        let ((secret, key), (_, other)) = (pair(), pair());
        let text = sign(&secret, b"manifest", "lora 1.2.0").expect("signed");
        let signature = Signature::parse(&text).expect("a signature");
        assert_eq!(signature.id(), key.id());
        assert!(signature.verifies(&key, b"manifest"));
        assert!(!signature.verifies(&key, b"manifesto") && !signature.verifies(&other, b"manifest"));
        let comment = Signature::parse(&text.replace("lora 1.2.0", "lora 1.3.0")).expect("a signature");
        assert!(!comment.verifies(&key, b"manifest"), "the comment is signed too");
    }

    #[test]
    fn a_flipped_bit_of_a_signature_is_refused_or_stands_in_the_free_comment() {
        let (secret, key) = pair();
        let text = sign(&secret, b"manifest", "lora 1.2.0").expect("signed");
        let free = text.lines().next().map_or(0, str::len);
        for place in free + 1..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= 1;
            let accepted = String::from_utf8(bytes)
                .ok()
                .and_then(|text| Signature::parse(&text).ok())
                .is_some_and(|signature| signature.verifies(&key, b"manifest"));
            assert!(!accepted, "byte {place}");
        }
    }

    #[test]
    fn a_signature_has_one_text() {
        let (secret, key) = pair();
        let text = sign(&secret, b"manifest", "lora 1.2.0").expect("signed");
        let lines: Vec<&str> = text.lines().collect();
        let (longer, shorter) = (lines[1].replace('=', "M"), &lines[1][..96]);
        let comment = lines[3].replace("==", "E=");
        for (line, other) in [
            (1, longer.as_str()),
            (1, shorter),
            (3, &comment),
            (3, &lines[3][..84]),
            (2, "trusted comment:  lora 1.2.0"),
        ] {
            let mut changed = lines.clone();
            changed[line] = other;
            let parsed = Signature::parse(&changed.join("\n"));
            assert!(
                parsed.is_err() || !parsed.is_ok_and(|signature| signature.verifies(&key, b"manifest")),
                "{other}"
            );
        }
        assert!(Signature::parse(&text).is_ok_and(|signature| signature.verifies(&key, b"manifest")));
    }

    #[test]
    fn keys_come_as_a_line_or_as_a_file() {
        let (_, key) = pair();
        assert_eq!(Key::parse(&key.line()), Ok(key.clone()));
        assert_eq!(Key::parse(&key.file()), Ok(key.clone()));
        assert!(key.file().contains(&key.id()));
        for text in ["", "RW", &key.line()[1..], "a\nb\nc", &format!("x\n{}", key.line())] {
            assert!(Key::parse(text).expect_err(text).contains("\nhint: "));
        }
    }

    #[test]
    fn what_the_minisign_tool_wrote_is_understood() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/minisign/");
        let read = |name: &str| std::fs::read_to_string(format!("{folder}{name}")).expect("a fixture");
        let key = Key::parse(&read("minisign.pub")).expect("a key");
        let signature = Signature::parse(&read("plugin.toml.minisig")).expect("a signature");
        assert!(signature.verifies(&key, read("plugin.toml").as_bytes()));
        assert!(!signature.verifies(&key, b"another text"));
    }
}
