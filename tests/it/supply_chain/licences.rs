//! Licence expressions: whether a list of licences is enough for one.

/// Whether what the expression asks for can be had with these licences alone. `/` is what `OR` was called once.
pub fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    let satisfied = any(&mut words, allowed);
    assert!(words.is_empty(), "no licence expression: {expression:?}");
    satisfied
}

fn take(words: &mut &[&str], wanted: &str) -> bool {
    let there = words.first() == Some(&wanted);
    if there {
        *words = &words[1..];
    }
    there
}

fn any(words: &mut &[&str], allowed: &[String]) -> bool {
    let mut satisfied = all(words, allowed);
    while take(words, "OR") {
        satisfied |= all(words, allowed);
    }
    satisfied
}

fn all(words: &mut &[&str], allowed: &[String]) -> bool {
    let mut satisfied = one(words, allowed);
    while take(words, "AND") {
        satisfied &= one(words, allowed);
    }
    satisfied
}

fn one(words: &mut &[&str], allowed: &[String]) -> bool {
    if take(words, "(") {
        let satisfied = any(words, allowed);
        assert!(take(words, ")"), "a parenthesis is open: {words:?}");
        return satisfied;
    }
    let (name, rest) = words.split_first().expect("a licence expression goes on");
    *words = rest;
    let mut name = (*name).to_owned();
    if take(words, "WITH") {
        let (exception, rest) = words.split_first().expect("an exception has a name");
        *words = rest;
        name = format!("{name} WITH {exception}");
    }
    allowed.contains(&name)
}

#[test]
fn an_expression_is_satisfied_by_what_is_allowed_or_not_at_all() {
    let allowed = ["MIT", "ISC"].map(str::to_owned);
    for expression in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND ISC", "GPL-3.0 AND MPL-2.0 OR ISC"] {
        assert!(satisfied(expression, &allowed), "{expression}");
    }
    for expression in
        ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR MPL-2.0)", "MIT WITH LLVM-exception", "(GPL-3.0)"]
    {
        assert!(!satisfied(expression, &allowed), "{expression}");
    }
}
