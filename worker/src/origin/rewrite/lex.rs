//! SQL cut into the few kinds of pieces that matter for finding placeholders. White space, comments and strings yield no
//! token: no placeholder is in them.

use super::{At, Dialect, RewriteError, place};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A keyword, or a name that is not quoted.
    Word,
    /// A quoted name, its quotes included.
    Quoted,
    /// `:keys`.
    Keys,
    /// `:key`.
    Key,
    /// `::`.
    Cast,
    /// A parameter that is none of ours.
    Foreign,
    /// A string or a number.
    Literal,
    /// Any other byte.
    Punct(u8),
}

/// A piece of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) what: What,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    /// Whether this is `word`, in upper or lower case.
    pub(super) fn is_word(&self, query: &str, word: &str) -> bool {
        self.what == What::Word && query[self.start..self.end].eq_ignore_ascii_case(word)
    }

    /// Whether this can be the name of a column or table.
    pub(super) fn is_name(&self) -> bool {
        matches!(self.what, What::Word | What::Quoted)
    }
}

/// Cuts `query` into tokens.
pub(super) fn lex(query: &str, dialect: Dialect) -> Result<Vec<Token>, RewriteError> {
    let mut lexer = Lexer {
        query,
        bytes: query.as_bytes(),
        dialect,
        at: 0,
        executable: None,
    };
    let mut tokens: Vec<Token> = Vec::new();
    while lexer.at < lexer.bytes.len() {
        let start = lexer.at;
        if let Some(what) = lexer.next()? {
            tokens.push(Token {
                what,
                start,
                end: lexer.at,
            });
        }
    }
    match lexer.executable {
        Some(start) => Err(lexer.unterminated(start, "comment")),
        None => Ok(tokens),
    }
}

struct Lexer<'q> {
    query: &'q str,
    bytes: &'q [u8],
    dialect: Dialect,
    at: usize,
    /// Where the comment begins whose content MySQL executes, while we are in one.
    executable: Option<usize>,
}

impl Lexer<'_> {
    /// Steps over one piece, and says what it was; `None` for white space and comments.
    fn next(&mut self) -> Result<Option<What>, RewriteError> {
        let postgres = self.dialect == Dialect::Postgres;
        let mysql = self.dialect == Dialect::MySql;
        let start = self.at;
        Ok(Some(match self.bytes[start] {
            b'-' | b'#' if self.begins_line_comment() => {
                self.at += self
                    .rest()
                    .iter()
                    .position(|&b| b == b'\n')
                    .unwrap_or(self.rest().len());
                return Ok(None);
            }
            b'/' if self.rest().starts_with(b"/*") => {
                match self.executable_opener() {
                    Some(length) => {
                        self.at += length;
                        self.executable = Some(start);
                    }
                    None => self.block_comment()?,
                }
                return Ok(None);
            }
            b'*' if self.executable.is_some() && self.rest().starts_with(b"*/") => {
                self.at += 2;
                self.executable = None;
                return Ok(None);
            }
            b'\'' => {
                self.quoted(b'\'', mysql, "string")?;
                What::Literal
            }
            b'"' if mysql => {
                self.quoted(b'"', true, "string")?;
                What::Literal
            }
            b'"' => {
                self.quoted(b'"', false, "quoted name")?;
                What::Quoted
            }
            b'`' if !postgres => {
                self.quoted(b'`', false, "quoted name")?;
                What::Quoted
            }
            b'[' if self.dialect == Dialect::Sqlite => {
                self.until("]", 1, "quoted name")?;
                What::Quoted
            }
            b'$' if postgres => self.dollar()?,
            // A variable of the session, or of the server's: its name may be quoted, and is a piece of its own then.
            b'@' if mysql => {
                self.at += 1;
                self.skip_word();
                What::Literal
            }
            b'?' if mysql => {
                self.at += 1;
                What::Foreign
            }
            b'$' | b'@' | b'?' | b'#' if self.dialect == Dialect::Sqlite => {
                self.at += 1;
                self.skip_word();
                What::Foreign
            }
            b':' => self.colon(),
            b if is_word_start(b) || (mysql && b == b'$') => {
                self.skip_word();
                let word = &self.query[start..self.at];
                if postgres && word.eq_ignore_ascii_case("e") && self.rest().first() == Some(&b'\'')
                {
                    self.quoted(b'\'', true, "string")?;
                    What::Literal
                } else {
                    What::Word
                }
            }
            b if b.is_ascii_digit() => {
                self.skip_word();
                What::Literal
            }
            b => {
                self.at += 1;
                if b.is_ascii_whitespace() {
                    return Ok(None);
                }
                What::Punct(b)
            }
        }))
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// In MySQL, two hyphens are minus signs where something follows them at once, and `#` begins a comment, too.
    fn begins_line_comment(&self) -> bool {
        let mysql = self.dialect == Dialect::MySql;
        match self.rest() {
            [b'-', b'-', next, ..] if mysql => *next <= b' ',
            [b'-', b'-', ..] => true,
            [b'#', ..] => mysql,
            _ => false,
        }
    }

    /// The length of `/*!`, `/*M!` and the version behind it, where MySQL or MariaDB executes what follows.
    fn executable_opener(&self) -> Option<usize> {
        const VERSION_DIGITS_MAX: usize = 6;
        if self.dialect != Dialect::MySql || self.executable.is_some() {
            return None;
        }
        let mark = ["/*!", "/*M!"]
            .into_iter()
            .find(|mark| self.rest().starts_with(mark.as_bytes()))?;
        let behind = &self.rest()[mark.len()..];
        let digits = behind.iter().take_while(|b| b.is_ascii_digit()).count();
        Some(mark.len() + digits.min(VERSION_DIGITS_MAX))
    }

    fn skip_word(&mut self) {
        self.at += self.rest().iter().take_while(|&&b| is_word(b)).count();
    }

    /// `::`, a placeholder, or a plain colon (an array slice, `:=`).
    fn colon(&mut self) -> What {
        let start = self.at;
        self.at += 1;
        if self.rest().first() == Some(&b':') {
            self.at += 1;
            return What::Cast;
        }
        let attached = start > 0
            && (is_word(self.bytes[start - 1]) || matches!(self.bytes[start - 1], b'"' | b'\''));
        let length = self.rest().iter().take_while(|&&b| is_word(b)).count();
        let what = match &self.rest()[..length] {
            b"keys" if !attached => What::Keys,
            b"key" if !attached => What::Key,
            // In PostgreSQL that is the upper end of a slice; in SQLite it is a parameter, and nothing else; MySQL has none.
            name if self.dialect != Dialect::Postgres && !name.is_empty() => What::Foreign,
            _ => return What::Punct(b':'),
        };
        self.at += length;
        what
    }

    /// `$1` or `$tag$ … $tag$`.
    fn dollar(&mut self) -> Result<What, RewriteError> {
        let rest = &self.query[self.at + 1..];
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            self.at += 1;
            self.skip_word();
            return Ok(What::Foreign);
        }
        let tag = rest
            .bytes()
            .take_while(|&b| is_word(b) && b != b'$')
            .count();
        if rest.as_bytes().get(tag) != Some(&b'$') {
            self.at += 1;
            return Ok(What::Punct(b'$'));
        }
        let delimiter = self.query[self.at..self.at + tag + 2].to_owned();
        self.until(&delimiter, delimiter.len(), "string")?;
        Ok(What::Literal)
    }

    /// Steps over what is `skip` bytes long at least, and behind the next `end`.
    fn until(&mut self, end: &str, skip: usize, what: &'static str) -> Result<(), RewriteError> {
        let from = self.at + skip;
        let found = self.query[from..]
            .find(end)
            .ok_or_else(|| self.unterminated(self.at, what))?;
        self.at = from + found + end.len();
        Ok(())
    }

    /// Steps over a quoted piece, in which the quote is written twice, or (where there are escapes) behind a backslash.
    fn quoted(&mut self, quote: u8, escapes: bool, what: &'static str) -> Result<(), RewriteError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.rest() {
                [] => return Err(self.unterminated(start, what)),
                [b'\\', _, ..] if escapes => self.at += 2,
                [a, b, ..] if *a == quote && *b == quote => self.at += 2,
                [a, ..] if *a == quote => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Comments nest in PostgreSQL, but not in SQLite, where one that is open at the end is fine.
    fn block_comment(&mut self) -> Result<(), RewriteError> {
        let start = self.at;
        let mut depth = 0_u32;
        loop {
            match self.rest() {
                [] if self.dialect == Dialect::Sqlite => break,
                [] => return Err(self.unterminated(start, "comment")),
                [b'/', b'*', ..] if depth == 0 || self.dialect == Dialect::Postgres => {
                    depth += 1;
                    self.at += 2;
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        break;
                    }
                }
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    fn unterminated(&self, start: usize, what: &'static str) -> RewriteError {
        let at: At = place(self.query, start);
        RewriteError::Unterminated { what, at }
    }
}

fn is_word_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn is_word(b: u8) -> bool {
    is_word_start(b) || b.is_ascii_digit() || b == b'$'
}
