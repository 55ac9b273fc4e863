use super::*;

fn both(text: &str) -> (Option<toml::Table>, Option<toml::Table>) {
    (from_toml::<toml::Table>(text).ok(), toml::from_str(text).ok())
}

#[test]
fn it_reads_what_the_toml_crate_reads() {
    for text in [
        "",
        "# only a comment",
        "a = 1\nb = -2 # two\nc = +3\n\nd = 1_000\r\n",
        "a = 0x_ff\n",
        "a = 0xff\nb = 0o17\nc = 0b101\nd = 0",
        "a = 1.5\nb = 1e3\nc = -2.5E-2\nd = 1_0.0_1\ne = inf\nf = -inf",
        "a = true\nb = false",
        "a = \"x \\\"y\\\" \\t\\u00e9\\U0001F600 \\\\\"\nb = 'raw \\n'\n\"c d\" = 'e'\n'f.g' = \"\"",
        "a = \"\"\"\nfirst\n  second \\\n   third\"\"\"\nb = '''\nraw \\\nlines''''\nc = \"\"\"\"quoted\"\"\"\"",
        "a = [1, 2, # two\n 3,\n]\nb = []\nc = [[1], ['x', \"y\"]]",
        "a = { b = 1, c.d = 'x', e = {} }\nf = [{ g = 1 }, { g = 2 }]",
        "a.b.c = 1\na.b.d = 2\n[e]\nf = 1\n[e.g]\nh = 2\n[i.j]\nk = 3\n[i]\nl = 4",
        "[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n[[a.e]]\nf = 4\n[[a]]\n[a.c]\nd = 5",
    ] {
        let (ours, theirs) = both(text);
        assert_eq!(ours, theirs, "{text}");
    }
}

#[test]
fn it_refuses_what_the_toml_crate_refuses() {
    for text in [
        "a",
        "a =",
        "= 1",
        "a = 1 b = 2",
        "a = 1\na = 2",
        "a = b",
        "a = 01",
        "a = 1.",
        "a = .5",
        "a = 1__0",
        "a = 1e",
        "a = \"x",
        "a = 'x\n'",
        "a = \"\\q\"",
        "a = \"\\ud800\"",
        "a = [1",
        "a = [1 2]",
        "a = {b = 1",
        "a = {b = 1 c = 2}",
        "[a",
        "[a]]",
        "[a]\n[a]",
        "a = 1\n[a]",
        "a = 1\na.b = 2",
        "[[a]]\n[a]",
        "a = 99999999999999999999",
        "a = \"\"\"x",
        "a = 0x",
        "a = +0x1",
        "a = tru",
        "a = \"\u{1}\"",
        "a = [,]",
        "[]",
        "a..b = 1",
        "a = '''x''''''",
    ] {
        let (ours, theirs) = both(text);
        assert_eq!((ours, theirs), (None, None), "{text}");
    }
}

/// Values that follow from a number, down to a depth.
fn made_up(state: &mut u64, depth: u32) -> toml::Value {
    let mut next = |below: u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    };
    let text = |next: &mut dyn FnMut(u64) -> u64| {
        let letters = [
            'a',
            'B',
            '7',
            ' ',
            '.',
            '"',
            '\'',
            '\\',
            '\n',
            '\t',
            '=',
            '#',
            '[',
            '\u{e9}',
            '\u{1F600}',
            '\u{7f}',
        ];
        (0..next(9)).map(|_| letters[next(letters.len() as u64) as usize]).collect::<String>()
    };
    match next(if depth == 0 { 4 } else { 6 }) {
        0 => toml::Value::Integer(next(1 << 31).cast_signed() - (1 << 30)),
        1 => toml::Value::Float((next(1 << 31) as f64 - 1e9) / 1e4),
        2 => toml::Value::Boolean(next(2) == 1),
        3 => toml::Value::String(text(&mut next)),
        4 => {
            let count = next(4);
            toml::Value::Array((0..count).map(|_| made_up(state, depth - 1)).collect())
        }
        _ => {
            let keys: Vec<String> = (0..next(5)).map(|_| text(&mut next)).collect();
            toml::Value::Table(keys.into_iter().map(|key| (key, made_up(state, depth - 1))).collect())
        }
    }
}

#[test]
fn what_the_toml_crate_writes_comes_back_equal() {
    let mut tables = 0;
    for seed in 0..2000 {
        let mut state = seed;
        let toml::Value::Table(table) = made_up(&mut state, 4) else { continue };
        let text = toml::to_string(&table).expect("a table can be written");
        assert_eq!(from_toml::<toml::Table>(&text).as_ref().ok(), Some(&table), "{text}");
        tables += 1;
    }
    assert!(tables > 200, "{tables}");
}

#[test]
fn errors_name_line_or_key() {
    #[derive(serde::Deserialize, Debug)]
    #[serde(default, deny_unknown_fields)]
    #[allow(dead_code, reason = "only errors are looked at")]
    struct Config {
        r: i64,
        inner: Inner,
        kind: Kind,
        maybe: Option<f64>,
    }
    #[derive(serde::Deserialize, Debug, Default)]
    #[serde(default, deny_unknown_fields)]
    #[allow(dead_code, reason = "only errors are looked at")]
    struct Inner {
        names: Vec<String>,
    }
    #[derive(serde::Deserialize, Debug)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        PlainOne,
        With { size: usize },
    }
    impl Default for Config {
        fn default() -> Self {
            Config { r: 1, inner: Inner::default(), kind: Kind::PlainOne, maybe: None }
        }
    }
    let sound: Config =
        from_toml("maybe = 2\nkind = { with = { size = 3 } }\n[inner]\nnames = [\"a\"]").expect("sound");
    assert_eq!((sound.r, sound.maybe, sound.inner.names.len()), (1, Some(2.0), 1));
    assert!(matches!(sound.kind, Kind::With { size: 3 }));
    for (text, part) in [
        ("r = 1\nr = ?", "line 2, `r = ?`: not a value"),
        ("r = \"x\"", "`r`: invalid type: string \"x\", expected i64"),
        ("rr = 1", "unknown field `rr`, expected one of `r`, `inner`, `kind`, `maybe`"),
        ("inner.names = [1]", "`inner.names`: invalid type: integer `1`, expected a string"),
        ("kind = \"other\"", "`kind`: unknown variant `other`, expected `plain-one` or `with`"),
        ("kind = { with = { size = -1 } }", "`kind.with.size`: invalid value: integer `-1`, expected usize"),
    ] {
        let message = from_toml::<Config>(text).expect_err(text).to_string();
        assert_eq!(message, part);
    }
    let deep = format!("a = {}{}", "[".repeat(200), "]".repeat(200));
    assert!(from_toml::<toml::Table>(&deep).is_err());
}
