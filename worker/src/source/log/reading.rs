//! Reading a log: line by line, file by file, and what is counted goes out as rows.

use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use stoke_core::access_log::{AccessLog, Lines};
use stoke_core::units::Priority;
use tokio::sync::mpsc;

use super::filter::{Filtered, Sieve};
use super::format::{self, Format};
use super::{LogError, Observer, Read, Seen, access, open, order, packed};
use crate::source::count::{Counted, Counter};
use crate::source::file::{Watchful, take_standard_input, without_mark};
use crate::source::lines::{Line, length_at_hand, next_line, pass_over, too_long};
use crate::source::{BadLine, KEY_COLUMN, Rows, Rules, SourceFault, SourceRow, Whereabouts, shown};

/// After so many lines it is said that none is an access.
const LINES_WITHOUT_ACCESS_MAX: u64 = 10_000;

/// Keys of one loader, on their way out.
struct Output {
    rows: Rows,
    /// How many values a key was counted by.
    values: usize,
    /// Whether the only value is the key, too.
    doubles: bool,
}

/// A log that is being read.
pub(super) struct Reading<'a> {
    log: &'a AccessLog,
    sieve: Sieve,
    outputs: Vec<Output>,
    /// What lines must have beside, where there are no patterns.
    further: Vec<String>,
    counter: Counter,
    counts_bytes_max: usize,
    files: Vec<PathBuf>,
    /// Whether it has to be said of which file a line is.
    several: bool,
    read: Read,
    /// How many lines are accesses; and what is wrong with the first that is none.
    accesses: u64,
    first_bad: Option<String>,
    packed: Vec<u8>,
    /// Empty between two lines: what the line at hand has in the places of a pattern's names.
    found: Vec<&'static [u8]>,
    sink: &'a mpsc::Sender<Vec<SourceRow>>,
    /// Whom each access that counts is shown.
    pub(super) observer: Option<&'a mut dyn Observer>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        log: &'a AccessLog,
        rules: &[Rules],
        now: SystemTime,
        sink: &'a mpsc::Sender<Vec<SourceRow>>,
        counts_bytes_max: usize,
    ) -> Result<Self, LogError> {
        let further = match (log.urls.as_slice(), rules.first()) {
            ([], Some(rules)) => rules.columns(),
            _ => Vec::new(),
        };
        let of_urls = log.urls.iter().map(|rule| rule.pattern.names());
        let columns = of_urls.chain(log.urls.is_empty().then_some(further.as_slice()));
        let outputs = columns
            .zip(rules)
            .map(|(names, rules)| output(names, rules))
            .collect::<Result<_, _>>();
        let outputs = outputs.map_err(|source| LogError::Content {
            path: log.paths.join(", ").into(),
            source,
        })?;
        Ok(Self {
            log,
            sieve: Sieve::new(log, now),
            outputs,
            further,
            counter: Counter::default(),
            counts_bytes_max,
            files: Vec::new(),
            several: false,
            read: Read::default(),
            accesses: 0,
            first_bad: None,
            packed: Vec::new(),
            found: Vec::new(),
            sink,
            observer: None,
        })
    }

    /// Reads all files.
    pub(super) fn all(mut self) -> Result<Read, LogError> {
        let files = open::files(&self.log.paths, self.sink)?;
        let files = order::in_order(files, self.log, &self.further, self.sink);
        self.several = files.len() > 1;
        for path in files {
            self.file(path)?;
        }
        self.finish()
    }

    fn file(&mut self, path: PathBuf) -> Result<(), LogError> {
        if path == Path::new(open::STANDARD_INPUT) {
            take_standard_input()?;
        }
        let reader = open::open(&path, self.sink)?;
        self.content(path, reader)
    }

    /// Reads what a file has in it.
    pub(super) fn content(&mut self, path: PathBuf, reader: impl BufRead) -> Result<(), LogError> {
        self.files.push(path);
        let mut reader = Watchful::new(reader, self.sink);
        let mut line = 0;
        match self.lines(&mut reader, &mut line) {
            Err(Ended::Unreadable(_)) if self.sink.is_closed() => Err(LogError::Stopped),
            // What can be read was; the file lacks its end, or something in its middle.
            Err(Ended::Unreadable(error)) if self.skips() && is_of_content(&error) => {
                let what = self.unreadable(line, error);
                self.bad(line + 1, stoke_core::explain::explain(&what), b"")
            }
            Err(Ended::Unreadable(error)) => Err(self.unreadable(line, error)),
            Err(Ended::Otherwise(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Reads the lines of a file; `read` is how many were read to their ends.
    fn lines(&mut self, reader: &mut impl BufRead, read: &mut u64) -> Result<(), Ended> {
        let start = without_mark(reader)?;
        let mut reader = io::Cursor::new(start).chain(reader);
        let mut text = Vec::new();
        let mut format = None;
        for line in 1.. {
            // Mostly it need not be copied.
            if let Some(length) = length_at_hand(&mut reader)? {
                let text = &reader.fill_buf()?[..length];
                self.whole_line(line, text, &mut format)?;
                reader.consume(length);
                *read = line;
                continue;
            }
            match next_line(&mut reader, &mut text)? {
                Line::None => break,
                Line::Whole => self.whole_line(line, &text, &mut format)?,
                Line::TooLong => {
                    self.read.lines += 1;
                    self.bad(line, too_long(), &text)?;
                    self.look_for_accesses()?;
                    pass_over(&mut reader)?;
                }
            }
            *read = line;
        }
        Ok(())
    }

    fn whole_line(
        &mut self,
        line: u64,
        text: &[u8],
        format: &mut Option<Format>,
    ) -> Result<(), LogError> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        match format {
            Some(known) => self.line(line, without_end(text), known),
            None => {
                *format = self.first_line(line, without_end(text))?;
                Ok(())
            }
        }
    }

    /// Learns from a line how lines are written; `None` where it is not known yet.
    fn first_line(&mut self, line: u64, text: &[u8]) -> Result<Option<Format>, LogError> {
        match Format::of(&self.log.lines, &self.log.fields, &self.further, text) {
            Ok((format, format::First::Header)) => Ok(Some(format)),
            Ok((mut format, format::First::Access)) => {
                self.line(line, text, &mut format)?;
                Ok(Some(format))
            }
            // The file may begin in the middle of a line.
            Err(what) if self.log.lines == Lines::Auto => {
                self.read.lines += 1;
                self.bad(line, what, text)?;
                self.look_for_accesses()?;
                Ok(None)
            }
            Err(what) => Err(LogError::Format {
                path: self.path(),
                what,
            }),
        }
    }

    fn line(&mut self, line: u64, text: &[u8], format: &mut Format) -> Result<(), LogError> {
        self.read.lines += 1;
        let access = format.read(text).or_else(|what| {
            let other = format.or_other(&self.log.lines, &self.log.fields, &self.further, text);
            *format = other.ok_or(what)?;
            format.read(text)
        });
        let access = access.and_then(|access| Ok((self.sieve.weight(&access)?, access)));
        let (weight, access) = match access {
            Ok(access) => access,
            Err(what) => {
                self.bad(line, what, text)?;
                return self.look_for_accesses();
            }
        };
        // Without its fields a line tells no access: those of an application's log say many things.
        let lacks_fields = access.further.iter().any(Option::is_none);
        self.accesses += u64::from(!lacks_fields);
        let Filtered::Counts(weight) = weight else {
            self.read.filtered += 1;
            return Ok(());
        };
        if !self.pack(&access) {
            self.read.unmatched += 1;
            self.read.unmatched_example.get_or_insert_with(|| {
                let url = access.url.as_deref();
                shown(url.unwrap_or(text))
            });
            return self.look_for_accesses();
        }
        if let Some(observer) = &mut self.observer {
            let (key, at) = (self.packed.as_slice(), access.at);
            observer.see(Seen { key, at });
        }
        let file = u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX);
        self.counter.add(&self.packed, weight, (file, line));
        if self.counter.bytes() > self.counts_bytes_max {
            self.send_counts()?;
        }
        Ok(())
    }

    /// Packs the key that an access is of; `false` where it is of none.
    fn pack(&mut self, access: &access::Access<'_>) -> bool {
        if self.log.urls.is_empty() {
            let values: Option<Vec<&[u8]>> = access
                .further
                .iter()
                .map(|field| field.as_deref())
                .collect();
            let Some(values) = values else {
                return false;
            };
            packed::pack(0, &values, &mut self.packed);
            return true;
        }
        let Some(url) = access.url.as_deref() else {
            return false;
        };
        let mut found = emptied(std::mem::take(&mut self.found));
        let rule = self
            .log
            .urls
            .iter()
            .position(|rule| rule.pattern.captures(url, &mut found));
        if let Some(rule) = rule {
            packed::pack(rule, &found, &mut self.packed);
        }
        self.found = emptied(found);
        rule.is_some()
    }

    /// Sends what was counted so far.
    fn send_counts(&mut self) -> Result<(), LogError> {
        let mut counter = std::mem::take(&mut self.counter);
        for (packed, counted) in counter.counts() {
            let output = &mut self.outputs[packed::rule(packed)];
            let (rule, written) = packed::unpack(packed, output.values);
            let pattern = self.log.urls.get(rule).map(|rule| &rule.pattern);
            let text = |(n, written): (usize, &&[u8])| {
                let decoded = match pattern {
                    Some(pattern) => pattern.decoded(n, written),
                    None => (*written).into(),
                };
                let text = String::from_utf8(decoded.into_owned());
                text.map(Some).map_err(|_| "it is not UTF-8".to_owned())
            };
            let values: Result<Vec<Option<String>>, String> =
                written.iter().enumerate().map(text).collect();
            let values = values.map(|mut values| {
                if output.doubles {
                    values.extend(values.first().cloned());
                }
                values
            });
            let (file, line) = counted.first;
            let path = usize::try_from(file)
                .ok()
                .and_then(|file| self.files.get(file));
            let path = path.cloned().unwrap_or_default();
            let several = self.several;
            let lines = counted.lines;
            let bad = |what: String| {
                let what = format!(
                    "a key that it asks for cannot be used{}: {what}",
                    within(&path, several)
                );
                BadLine::showing(Whereabouts::Line(line), what, &written.join(&b' '))
            };
            let full = output.rows.counted(values, priority(counted), (bad, lines));
            let full = full.map_err(|source| LogError::Content {
                path: path.clone(),
                source,
            })?;
            if let Some(full) = full {
                self.sink
                    .blocking_send(full)
                    .map_err(|_| LogError::Stopped)?;
            }
        }
        counter.clear();
        self.counter = counter;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Read, LogError> {
        if self.read.lines > 0 && self.accesses == 0 {
            return Err(self.no_access());
        }
        if let Some(half_lives) = self.sieve.faded() {
            return Err(LogError::Faded { half_lives });
        }
        self.send_counts()?;
        for output in self.outputs {
            let (last, gathered) = output.rows.finish();
            if let Some(last) = last {
                self.sink
                    .blocking_send(last)
                    .map_err(|_| LogError::Stopped)?;
            }
            self.read.gathered.add(gathered);
        }
        Ok(self.read)
    }

    /// A line that is no access.
    fn bad(&mut self, line: u64, what: String, text: &[u8]) -> Result<(), LogError> {
        let path = self.path();
        let what = format!("{what}{}", within(&path, self.several));
        let at = Whereabouts::Line(line);
        let bad = match text.is_empty() {
            true => BadLine::new(at, what),
            false => BadLine::showing(at, what, text),
        };
        if !self.skips() {
            let source = SourceFault::Bad(bad);
            return Err(LogError::Content { path, source });
        }
        self.first_bad.get_or_insert_with(|| bad.to_string());
        self.read.gathered.leave_out(&bad);
        Ok(())
    }

    fn look_for_accesses(&self) -> Result<(), LogError> {
        match self.accesses == 0 && self.read.lines >= LINES_WITHOUT_ACCESS_MAX {
            true => Err(self.no_access()),
            false => Ok(()),
        }
    }

    fn no_access(&self) -> LogError {
        let lacking = || {
            let (fields, line) = (
                self.further.join(", "),
                self.read.unmatched_example.as_deref(),
            );
            format!(
                "they lack one of the fields {fields} (as {})",
                line.unwrap_or_default()
            )
        };
        LogError::NoAccess {
            path: self.files.first().cloned().unwrap_or_default(),
            lines: self.read.lines,
            example: self.first_bad.clone().unwrap_or_else(lacking),
        }
    }

    fn skips(&self) -> bool {
        self.outputs
            .first()
            .is_some_and(|output| output.rows.skips())
    }

    fn unreadable(&self, line: u64, source: io::Error) -> LogError {
        LogError::Read {
            path: self.path(),
            line,
            source,
        }
    }

    /// The file at hand.
    fn path(&self) -> PathBuf {
        self.files.last().cloned().unwrap_or_default()
    }
}

/// Why reading a file ended before its end.
enum Ended {
    Unreadable(io::Error),
    Otherwise(LogError),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Self {
        Self::Otherwise(error)
    }
}

/// The same piece of memory for slices of another line.
fn emptied<'l>(mut found: Vec<&[u8]>) -> Vec<&'l [u8]> {
    found.clear();
    let none = found.into_iter().map(|_| -> &[u8] { &[] });
    none.collect()
}

/// A line without what ends it.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether reading fails by what is in a file, and not by where it lies.
fn is_of_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(
        error.kind(),
        InvalidData | InvalidInput | Other | UnexpectedEof
    )
}

/// In which of several files.
fn within(path: &Path, several: bool) -> String {
    match several {
        true => format!(" (in {})", path.display()),
        false => String::new(),
    }
}

/// The output of keys whose values have these names.
fn output(names: &[String], rules: &Rules) -> Result<Output, SourceFault> {
    let mut rows = Rows::new(rules);
    let has_key = rows.has_parts() || names.iter().any(|name| name == KEY_COLUMN);
    let is_key = !has_key && names.len() == 1;
    // A template may name it as the pattern does.
    let doubles = is_key && rules.template.is_some();
    let mut columns = match is_key && !doubles {
        true => Vec::new(),
        false => names.to_vec(),
    };
    if is_key {
        columns.push(KEY_COLUMN.to_owned());
    }
    rows.columns(columns)?;
    Ok(Output {
        rows,
        values: names.len(),
        doubles,
    })
}

/// A count as a priority: at least the least that there is, however old its accesses are, and at most the greatest.
fn priority(counted: Counted) -> Priority {
    let greatest = Priority::from_milli(u64::MAX);
    Priority::from_requests(counted.count)
        .map_or(greatest, |priority| priority.max(Priority::from_milli(1)))
}
