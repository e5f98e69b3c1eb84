//! Cron expressions of five fields (minute, hour, day of the month, month, day of the week), and the matching times.

mod times;
mod zone;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::{shown, text_form};

pub use zone::{BadZone, Zone};

/// Maximum length of an expression in bytes: a list of every minute of an hour, and spare room.
const BYTES_MAX: usize = 512;
/// Short forms and the equivalent expressions.
const SHORT: [(&str, &str); 7] = [
    ("@annually", "0 0 1 1 *"),
    ("@daily", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
    ("@midnight", "0 0 * * *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@yearly", "0 0 1 1 *"),
];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Sunday as the last day of a week; as the first day, Sunday is 0.
const SUNDAY: u32 = 7;
/// Maximum number of days of each month.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Cron expression. The smallest step is a minute, so a schedule runs at most once a minute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    fields: Fields,
}

/// Matching numbers of each field, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// True if either of both days suffices: neither field begins with `*`.
    is_either_day: bool,
    /// True if the hour begins with `*`: runs follow elapsed time, not the clock on the wall.
    is_every_hour: bool,
}

/// Error for an invalid cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCron {
    /// The text is neither five fields nor a short form.
    #[error(
        "`{0}` is no cron expression: five fields for minute, hour, day, month and weekday, such as \"0 8 * * mon-fri\", or one of @hourly, @daily, @weekly, @monthly, @yearly"
    )]
    Form(String),
    /// A field is invalid.
    #[error("`{text}` is no {field} of a cron expression: {} to {}, such as 1, 1-5, 1,3,5, * or */2", range.start(), range.end())]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Text of the field.
        text: String,
        /// Valid numbers.
        range: RangeInclusive<u32>,
    },
    /// The day exists in none of the months.
    #[error("`{0}` never comes: none of its months has such a day")]
    Never(String),
}

/// Field with its name, its range, and the names of its numbers from the first on.
struct Field {
    name: &'static str,
    range: RangeInclusive<u32>,
    names: &'static [&'static str],
}

impl Field {
    fn bad(&self, text: &str) -> BadCron {
        BadCron::Field { field: self.name, text: shown(text), range: self.range.clone() }
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match named.and_then(|index| u32::try_from(index).ok()) {
            Some(index) => self.range.start().checked_add(index)?,
            None if (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        self.range.contains(&number).then_some(number)
    }

    /// Returns the last number of a range from `first`: Sunday ends a week that began before Sunday.
    fn last(&self, first: u32, text: &str) -> Option<u32> {
        let last = self.number(text)?;
        let is_end_of_week = *self.range.end() == SUNDAY && last == 0 && first > 0;
        Some(if is_end_of_week { SUNDAY } else { last })
    }

    /// Returns the bits of a list of numbers, ranges and steps.
    fn bits(&self, text: &str) -> Result<u64, BadCron> {
        text.split(',').try_fold(0, |bits, part| Ok(bits | self.part(part).ok_or_else(|| self.bad(text))?))
    }

    fn part(&self, part: &str) -> Option<u64> {
        let (numbers, step) = match part.split_once('/') {
            Some((numbers, step)) => (numbers, Some(step)),
            None => (part, None),
        };
        let (first, last) = match (numbers, numbers.split_once('-')) {
            ("*", _) => (*self.range.start(), *self.range.end()),
            (_, Some((first, last))) => {
                let first = self.number(first)?;
                (first, self.last(first, last)?)
            }
            // Cron implementations disagree on a single number with a step: number or range.
            (_, None) if step.is_some() => return None,
            (one, None) => (self.number(one)?, self.number(one)?),
        };
        let step = match step {
            Some(step) if step.len() <= 2 && step.bytes().all(|b| b.is_ascii_digit()) => step.parse().ok()?,
            Some(_) => return None,
            None => 1_usize,
        };
        if step == 0 || first > last {
            return None;
        }
        Some((first..=last).step_by(step).fold(0, |bits, number| bits | (1 << number)))
    }
}

impl Fields {
    fn read(text: &str, fields: [&str; 5]) -> Result<Self, BadCron> {
        let [minute, hour, day, month, weekday] = fields;
        let of = |name, range, names, text: &str| Field { name, range, names }.bits(text);
        let weekdays = of("weekday", 0..=SUNDAY, &WEEKDAYS[..], weekday)?;
        let found = Self {
            minutes: of("minute", 0..=59, &[], minute)?,
            hours: of("hour", 0..=23, &[], hour)?,
            days: of("day", 1..=31, &[], day)?,
            months: of("month", 1..=12, &MONTHS[..], month)?,
            // Sunday is both 0 and 7.
            weekdays: (weekdays | (weekdays >> 7)) & 0x7f,
            is_either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            is_every_hour: hour.starts_with('*'),
        };
        let has_day = |(month, days): (u32, &u32)| {
            found.months & (1 << month) != 0 && (1..=*days).any(|day| found.days & (1 << day) != 0)
        };
        if !found.is_either_day && !(1..).zip(&DAYS).any(has_day) {
            return Err(BadCron::Never(shown(text)));
        }
        Ok(found)
    }
}

impl Cron {
    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Cron {
    type Err = BadCron;

    fn from_str(text: &str) -> Result<Self, BadCron> {
        let bad = || BadCron::Form(shown(text));
        if text.len() > BYTES_MAX {
            return Err(bad());
        }
        let long = SHORT.iter().find(|(short, _)| *short == text).map_or(text, |(_, long)| long);
        let mut words = long.split([' ', '\t']).filter(|word| !word.is_empty());
        let mut next = || words.next().ok_or_else(bad);
        let fields = [next()?, next()?, next()?, next()?, next()?];
        if words.next().is_some() {
            return Err(bad());
        }
        Ok(Self { text: text.to_owned(), fields: Fields::read(text, fields)? })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

text_form!(Cron, BadCron);

#[cfg(test)]
mod tests;
