//! The modules at the root of its crate that a Rust file names, outside of its tests.

/// The name, of a module or another item, with which a path from the root of the crate begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// The line's number, counted from 0.
    pub line: usize,
    pub target: String,
}

/// All paths that begin with `crate`, or with enough `super` to leave the file's own `depth` of
/// modules.
pub fn of(text: &str, depth: usize) -> Vec<Import> {
    let tokens = without_tests(&tokens(text));
    let mut imports = Vec::new();
    // One entry for each open brace: whether it opens a module.
    let mut braces = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        match tokens[index].text {
            "{" => braces.push(index >= 2 && tokens[index - 2].text == "mod"),
            "}" => {
                braces.pop();
            }
            "crate" => targets(&tokens, index + 1, &mut imports),
            "super" => {
                let ups = supers(&tokens[index..]);
                let inline = braces.iter().filter(|is_module| **is_module).count();
                index += 3 * (ups - 1);
                if ups >= depth + inline {
                    targets(&tokens, index + 1, &mut imports);
                }
            }
            _ => {}
        }
        index += 1;
    }
    imports
}

/// The number of `super` at the start, joined by `::`.
fn supers(tokens: &[Token<'_>]) -> usize {
    let links = tokens.chunks(3).take_while(|link| link[0].text == "super");
    let joined = links.take_while(|link| link.len() == 3 && link[1].text == ":");
    joined.count().max(1)
}

/// Adds the names behind the `::` at this place: one, or each name in braces.
fn targets(tokens: &[Token<'_>], at: usize, imports: &mut Vec<Import>) {
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text);
    if text(at) != ":" || text(at + 1) != ":" {
        return;
    }
    let mut import = |token: &Token<'_>| {
        imports.push(Import {
            line: token.line,
            target: token.text.to_owned(),
        });
    };
    let Some(first) = tokens.get(at + 2) else {
        return;
    };
    if first.text != "{" {
        import(first);
        return;
    }
    let mut level = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at + 2) {
        match token.text {
            "{" => level += 1,
            "}" => level -= 1,
            _ if level == 1 && matches!(text(index - 1), "{" | ",") => import(token),
            _ => {}
        }
        if level == 0 {
            return;
        }
    }
}

/// A word or one punctuation character.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// The words and punctuation of code, without comments, string literals and lifetimes.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 0);
    while let Some(first) = rest.chars().next() {
        let length = match skipped(rest) {
            0 => {
                let length = word(rest).max(first.len_utf8());
                if !first.is_whitespace() {
                    tokens.push(Token {
                        text: &rest[..length],
                        line,
                    });
                }
                length
            }
            length => length,
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn word(text: &str) -> usize {
    let in_word = |character: char| character.is_alphanumeric() || character == '_';
    text.find(|character| !in_word(character))
        .unwrap_or(text.len())
}

/// The length of the comment, literal or lifetime at the start of the text, or 0.
fn skipped(text: &str) -> usize {
    let to_end = |end: Option<usize>| end.unwrap_or(text.len());
    if text.starts_with("//") {
        return to_end(text.find('\n'));
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    let prefix = ["br", "cr", "r", "b", "c", ""]
        .iter()
        .find(|it| text.starts_with(**it));
    let prefix = prefix.map_or(0, |prefix| prefix.len());
    let after = &text[prefix..];
    if after.starts_with('"') && !text[..prefix].contains('r') {
        return prefix + quoted(after, '"');
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    if text[..prefix].contains('r') && after[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix + hashes + 1;
        return to_end(text[start..].find(&end).map(|at| start + at + end.len()));
    }
    if !after.starts_with('\'') {
        return 0;
    }
    // A character literal has its closing quote after one character; a lifetime has none.
    let mut characters = after.chars().skip(1);
    match (characters.next(), characters.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => prefix + quoted(after, '\''),
        _ => prefix + 1 + word(&after[1..]),
    }
}

/// Comments of this kind nest.
fn block_comment(text: &str) -> usize {
    let (mut level, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (level, at) = (level + 1, at + 2);
        } else if rest.starts_with("*/") {
            (level, at) = (level - 1, at + 2);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if level == 0 {
            break;
        }
    }
    at
}

/// The length of a literal that ends at the next `mark` without a backslash before it.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            it if it == mark => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// All tokens, without those of items that are compiled only for tests.
fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        if rest
            .iter()
            .map(|token| token.text)
            .take(TEST.len())
            .eq(TEST)
        {
            rest = &rest[TEST.len()..];
            rest = &rest[item(rest)..];
        } else {
            kept.push(*first);
            rest = &rest[1..];
        }
    }
    kept
}

/// The number of tokens of an item and its attributes: up to its block, semicolon or comma.
fn item(tokens: &[Token<'_>]) -> usize {
    const WITH_BLOCKS: [&str; 11] = [
        "mod", "fn", "impl", "struct", "enum", "trait", "const", "static", "async", "unsafe",
        "type",
    ];
    let mut level = 0_usize;
    let (mut is_use, mut has_block) = (false, false);
    for (index, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => level += 1,
            // A field or variant without a trailing comma ends with the block that contains it.
            ")" | "]" | "}" if level == 0 => return index,
            ")" | "]" | "}" => level -= 1,
            "use" if level == 0 => is_use = true,
            word if level == 0 && WITH_BLOCKS.contains(&word) => has_block = true,
            _ => {}
        }
        let ends = match token.text {
            "}" => !is_use,
            ";" => true,
            "," => !has_block,
            _ => false,
        };
        if level == 0 && ends {
            return index + 1;
        }
    }
    tokens.len()
}
