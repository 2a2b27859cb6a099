//! Single settings: texts and numbers into checked values, each fault noted with its place.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;

use super::super::file::UrlText;
use super::super::{Fault, SecretUrl, TTL_JITTER_PERMILLE_DEFAULT, TTL_JITTER_PERMILLE_MAX};
use super::Check;

/// The longest timeout that an origin may have: PostgreSQL counts milliseconds in 32 bits.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

impl Check<'_> {
    /// A URL with its `${NAME}`s replaced.
    pub(super) fn url(&mut self, at: &str, text: &Spanned<UrlText>) -> Option<SecretUrl> {
        let expanded = expand(&text.as_ref().0, self.around.variable);
        let expanded = self.or_fault(
            at,
            &text.span(),
            expanded,
            "set the variable, or write ${NAME} in full",
        )?;
        let url = SecretUrl::new(&expanded);
        self.or_fault(
            at,
            &text.span(),
            url,
            "write it as scheme://user:password@host/…",
        )
    }

    pub(super) fn file(&mut self, at: &str, path: &Spanned<PathBuf>) -> Option<String> {
        let content = (self.around.read)(path.as_ref());
        self.or_fault(
            at,
            &path.span(),
            content,
            "name a file that the worker can read",
        )
    }

    pub(super) fn timeout(&mut self, at: &str, text: Option<&Spanned<String>>) -> Option<Duration> {
        self.duration(at, text?, Duration::from_millis(1)..=TIMEOUT_MAX)
    }

    pub(super) fn duration(
        &mut self,
        at: &str,
        text: &Spanned<String>,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let remedy = "write a number with its unit, as \"500ms\", \"5s\", \"10m\", \"24h\"";
        let duration = humantime::parse_duration(text.as_ref());
        let duration = self.or_fault(at, &text.span(), duration, remedy)?;
        if !range.contains(&duration) {
            let (least, most) = (
                humantime::format_duration(*range.start()),
                humantime::format_duration(*range.end()),
            );
            let what = format!("{} is out of range", text.as_ref());
            self.fault(
                at,
                &text.span(),
                what,
                format!("choose from {least} to {most}"),
            );
            return None;
        }
        Some(duration)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: 0 to 900"
    )]
    pub(super) fn jitter(&mut self, at: &str, share: Option<&Spanned<f64>>) -> u16 {
        let Some(share) = share else {
            return TTL_JITTER_PERMILLE_DEFAULT;
        };
        let permille = share.as_ref() * 1000.0;
        if !(0.0..=f64::from(TTL_JITTER_PERMILLE_MAX)).contains(&permille) {
            let what = format!("{} is out of range", share.as_ref());
            self.fault(at, &share.span(), what, "choose from 0.0 to 0.9");
            return TTL_JITTER_PERMILLE_DEFAULT;
        }
        permille.round() as u16
    }

    /// A number from 1 to the end of `default_and_most`; its start where none is given.
    pub(super) fn number(
        &mut self,
        at: &str,
        given: Option<(u64, Range<usize>)>,
        default_and_most: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let (default, most) = default_and_most.into_inner();
        let Some((number, span)) = given else {
            return default;
        };
        if !(1..=most).contains(&number) {
            self.fault(
                at,
                &span,
                format!("{number} is out of range"),
                format!("choose from 1 to {most}"),
            );
            return default;
        }
        number
    }

    /// A name that must be one of `defined`.
    pub(super) fn known<'n, N>(
        &mut self,
        at: &str,
        name: &Spanned<String>,
        noun: &str,
        defined: impl Iterator<Item = &'n Spanned<String>>,
    ) -> Option<N>
    where
        N: FromStr,
        N::Err: Display,
    {
        let parsed = self.parsed(at, name)?;
        let names: Vec<&str> = defined.map(|name| name.as_ref().as_str()).collect();
        if names.contains(&name.as_ref().as_str()) {
            return Some(parsed);
        }
        let what = format!("there is no {noun} {:?}", name.as_ref());
        let remedy = if names.is_empty() {
            format!("define it as [{noun}s.{}]", name.as_ref())
        } else {
            format!("use one of {}, or define it", names.join(", "))
        };
        self.fault(at, &name.span(), what, remedy);
        None
    }

    pub(super) fn parsed<N>(&mut self, at: &str, name: &Spanned<String>) -> Option<N>
    where
        N: FromStr,
        N::Err: Display,
    {
        self.or_fault(
            at,
            &name.span(),
            name.as_ref().parse(),
            "choose another name",
        )
    }

    pub(super) fn or_fault<T, E: Display>(
        &mut self,
        at: &str,
        span: &Range<usize>,
        result: Result<T, E>,
        remedy: &str,
    ) -> Option<T> {
        result
            .map_err(|error| self.fault(at, span, error.to_string(), remedy))
            .ok()
    }

    pub(super) fn fault(
        &mut self,
        at: &str,
        span: &Range<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let line = self
            .text
            .get(..span.start)
            .filter(|_| !self.text.is_empty());
        self.faults.push(Fault {
            place: at.to_owned(),
            line: line.map(|before| before.matches('\n').count() + 1),
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}

/// `text` with each `${NAME}` replaced by the variable's value. The value is put in as it is: what a URL wants
/// percent-encoded must be so in the variable.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or(ExpandError::Open)?;
        expanded.push_str(before);
        expanded.push_str(
            &variable(name).ok_or_else(|| ExpandError::Unset(name.chars().take(80).collect()))?,
        );
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Why a `${NAME}` has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ExpandError {
    #[error("the environment variable {0:?} is not set")]
    Unset(String),
    #[error("a ${{ is not closed")]
    Open,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_as_they_are() {
        let variable = |name: &str| (name == "A").then(|| "${B}".to_owned());
        assert_eq!(expand("x${A}y${A}$", &variable).unwrap(), "x${B}y${B}$");
        assert_eq!(
            expand("${B}", &variable),
            Err(ExpandError::Unset("B".into()))
        );
        assert_eq!(expand("${A", &variable), Err(ExpandError::Open));
    }
}
