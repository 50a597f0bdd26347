//! Text that others wrote never acts on a terminal, and never begins a line of its own: what is stored, what files contain, what
//! the server says.

mod files;
mod log;
mod stored;

/// Colours, an end of line and a line that looks like ours, and characters of every other kind that nobody sees.
const HOSTILE: &str = "a\u{1b}[31mb\nforged: done, applied\rforged\tc\u{7f}\u{9b}0m\u{85}forged\u{202e}d\u{2066}e\
                       \u{200b}f\u{2028}forged\u{2029}g\u{feff}\u{ad}\u{e0041}h";

/// What nobody sees, and what a terminal may obey. (A list of its own: the program has another.)
fn is_hidden(character: char) -> bool {
    let ranges = [
        ('\u{0}', '\u{1f}'),
        ('\u{7f}', '\u{9f}'),
        ('\u{ad}', '\u{ad}'),
        ('\u{61c}', '\u{61c}'),
        ('\u{180e}', '\u{180e}'),
        ('\u{200b}', '\u{200f}'),
        ('\u{2028}', '\u{202e}'),
        ('\u{2060}', '\u{206f}'),
        ('\u{feff}', '\u{feff}'),
        ('\u{fff9}', '\u{fffb}'),
        ('\u{e0000}', '\u{e007f}'),
    ];
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// Nothing of it acts on a terminal, and no line is forged. Gives how often the hostile text is told all the same.
fn assert_harmless(what: &str, text: &str) -> usize {
    let hidden = text.chars().find(|&character| character != '\n' && is_hidden(character));
    assert_eq!(hidden, None, "{what} prints it: {text:?}");
    let forged = text.lines().find(|line| line.trim_start().starts_with("forged"));
    assert_eq!(forged, None, "{what}: {text}");
    text.matches(r"\nforged: done, applied").count()
}

/// What is JSON says exactly what is stored, and is harmless to look at, too.
fn assert_exact(what: &str, text: &str, contains: &str) {
    let hidden = text.chars().find(|&character| character != '\n' && is_hidden(character));
    assert_eq!(hidden, None, "{what} --json prints it: {text:?}");
    let parsed: Vec<serde_json::Value> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
    assert!(parsed.iter().any(|value| has(value, contains)), "{what}: {parsed:?}");
}

fn has(value: &serde_json::Value, text: &str) -> bool {
    match value {
        serde_json::Value::String(found) => found.contains(text),
        serde_json::Value::Array(values) => values.iter().any(|value| has(value, text)),
        serde_json::Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains(text) || has(value, text))
        }
        _ => false,
    }
}
