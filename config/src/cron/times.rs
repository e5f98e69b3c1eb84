//! Matching times of an expression in a time zone, through changes of the clock: pure, in milliseconds since 1970 UTC.
//!
//! Time is split into spans of a constant offset. An expression with fixed hours runs once for each local time: times
//! skipped by a clock set forward run at the change, and times repeated by a clock set back run the first time. An
//! expression with every hour follows elapsed time: a run happens whenever the clock shows a matching time.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

use super::{Cron, Fields, Zone};

/// Years until every possible match recurs, and slightly more than one year extra: a 29 February on a Sunday takes
/// forty years around a year like 2100, and a Saturday on some other single day twelve.
const YEARS_MAX: i64 = 41;

/// Span of a constant offset.
#[derive(Clone, Copy)]
struct OffsetSpan {
    offset: Offset,
    /// First local time of the span, by the offset before.
    clock_before: Option<DateTime>,
}

impl Cron {
    /// Returns the first matching time after `after_ms`; `None` beyond the end of the calendar.
    #[must_use]
    pub fn next_after(&self, zone: &Zone, after_ms: u64) -> Option<u64> {
        let rules = zone.rules();
        let after = Timestamp::from_second(i64::try_from(after_ms / 60_000 * 60).ok()?).ok()?;
        let mut from = after.checked_add(1.minute()).ok()?;
        let horizon = from.checked_add((YEARS_MAX * 366 * 24).hours()).ok()?;
        let mut stretch = OffsetSpan { offset: rules.to_offset(from), clock_before: clock_before(&rules, from) };
        let mut changes = rules.following(after);
        loop {
            let change = changes.next().filter(|change| change.timestamp() < horizon);
            // A change at the first candidate time belongs to the first span.
            if change.as_ref().is_some_and(|change| change.timestamp() <= from) {
                continue;
            }
            let end = change.as_ref().map_or(horizon, |change| change.timestamp());
            if let Some(found) = self.fields.first_within(stretch, from, end) {
                return u64::try_from(found.as_millisecond()).ok();
            }
            let change = change?;
            let clock_before = stretch.offset.to_datetime(change.timestamp());
            (from, stretch) =
                (change.timestamp(), OffsetSpan { offset: change.offset(), clock_before: Some(clock_before) });
        }
    }

    /// Returns the last matching time after `after_ms`, up to `until_ms`, if any.
    #[must_use]
    pub fn last_within(&self, zone: &Zone, after_ms: u64, until_ms: u64) -> Option<u64> {
        let is_before = |at: u64| self.next_after(zone, at).filter(|next| *next <= until_ms);
        let (mut low, mut high) = (after_ms, until_ms);
        let mut found = is_before(low)?;
        // Bisection, since the range may have a year of minutes.
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match is_before(middle) {
                Some(next) => (low, found) = (middle, next),
                None => high = middle - 1,
            }
        }
        Some(found)
    }
}

/// Returns the local time by the previous offset at the start of `from`'s offset: if the start is this very minute, or
/// the clock repeats times.
fn clock_before(rules: &TimeZone, from: Timestamp) -> Option<DateTime> {
    let change = rules.preceding(from.checked_add(1.second()).ok()?).next()?.timestamp();
    let before = rules.to_offset(change.checked_sub(1.second()).ok()?).to_datetime(change);
    (change == from || before > rules.to_offset(from).to_datetime(from)).then_some(before)
}

impl Fields {
    /// Returns the first match from `from` on, before `end`.
    fn first_within(self, stretch: OffsetSpan, from: Timestamp, end: Timestamp) -> Option<Timestamp> {
        let mut clock = stretch.offset.to_datetime(from);
        if let Some(before) = stretch.clock_before.filter(|_| !self.is_every_hour) {
            if before < clock && self.first(before, clock).is_some() {
                return Some(from);
            }
            // Repeated local times ran already.
            clock = clock.max(before);
        }
        let found = self.first(clock, stretch.offset.to_datetime(end))?;
        stretch.offset.to_timestamp(found).ok().filter(|found| *found < end)
    }

    /// Returns the first match of a clock without changes, from `from` on, before `end`.
    fn first(self, from: DateTime, end: DateTime) -> Option<DateTime> {
        // Matching times have no seconds.
        let from = match (from.second(), from.subsec_nanosecond()) {
            (0, 0) => from,
            _ => from.checked_add(1.minute()).ok()?.with().second(0).subsec_nanosecond(0).build().ok()?,
        };
        let (mut date, mut minute) = (from.date(), minute_of_day(from));
        while date.at(0, 0, 0, 0) < end {
            if !self.matches_month(date) {
                // The search may span forty years.
                (date, minute) = (date.last_of_month().tomorrow().ok()?, 0);
                continue;
            }
            if self.matches_date(date)
                && let Some((hour, minute)) = self.first_in_day(minute)
            {
                return Some(date.at(hour, minute, 0, 0)).filter(|found| *found < end);
            }
            (date, minute) = (date.tomorrow().ok()?, 0);
        }
        None
    }

    pub(super) fn matches_date(self, date: Date) -> bool {
        let has = |bits: u64, number: i8| bits & (1 << number) != 0;
        let (day, weekday) = (has(self.days, date.day()), has(self.weekdays, date.weekday().to_sunday_zero_offset()));
        self.matches_month(date) && if self.is_either_day { day || weekday } else { day && weekday }
    }

    fn matches_month(self, date: Date) -> bool {
        self.months & (1 << date.month()) != 0
    }

    /// Returns the first hour and minute from a minute of the day on.
    fn first_in_day(self, from: i16) -> Option<(i8, i8)> {
        let at_least = |bits: u64, least: i16| {
            let left = if least > 63 { 0 } else { (bits >> least) << least };
            (left != 0).then(|| i8::try_from(left.trailing_zeros()).ok()).flatten()
        };
        let (hour, minute) = (from / 60, from % 60);
        let first = at_least(self.hours, hour)?;
        if i16::from(first) == hour
            && let Some(minute) = at_least(self.minutes, minute)
        {
            return Some((first, minute));
        }
        let first = if i16::from(first) == hour { at_least(self.hours, hour + 1)? } else { first };
        Some((first, at_least(self.minutes, 0)?))
    }
}

fn minute_of_day(at: DateTime) -> i16 {
    i16::from(at.hour()) * 60 + i16::from(at.minute())
}
