//! Points in time, written for people and for signatures, in UTC.

/// A point in time by the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    year: u64,
    month: u64,
    day: u64,
    second_of_day: u64,
    millis: u64,
}

impl Civil {
    /// From milliseconds since 1970. Years beyond 9999 are written with more digits.
    pub(crate) fn from_unix_millis(millis: u64) -> Self {
        let seconds = millis / 1000;
        let (mut days, second_of_day) = (seconds / 86_400, seconds % 86_400);
        // Days since 0000-03-01: leap days then come last in a year, and 400 years repeat exactly.
        days += 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            second_of_day,
            millis: millis % 1000,
        }
    }

    /// `20150830`.
    pub(crate) fn basic_date(&self) -> String {
        format!("{:04}{:02}{:02}", self.year, self.month, self.day)
    }

    /// `20150830T123600Z`.
    pub(crate) fn basic(&self) -> String {
        let (hour, minute, second) = self.clock();
        format!("{}T{hour:02}{minute:02}{second:02}Z", self.basic_date())
    }

    /// `2015-08-30T12:36:00.000Z` (RFC 3339).
    pub(crate) fn rfc3339(&self) -> String {
        let (hour, minute, second) = self.clock();
        format!(
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            self.year, self.month, self.day, self.millis
        )
    }

    fn clock(&self) -> (u64, u64, u64) {
        let second = self.second_of_day;
        (second / 3600, second / 60 % 60, second % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (1_709_164_800, "20240229T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
            (4_107_542_399, "21000228T235959Z"),
        ] {
            assert_eq!(Civil::from_unix_millis(seconds * 1000).basic(), expected);
        }
        let written = Civil::from_unix_millis(1_440_938_160_042).rfc3339();
        assert_eq!(written, "2015-08-30T12:36:00.042Z");
        Civil::from_unix_millis(u64::MAX).rfc3339();
    }
}
