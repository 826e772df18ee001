//! The two ways of cutting a list: numbered pages at the ToolHive-shaped door, cursors at the
//! standard one. A cursor is the name of the last row that was sent, so that a list that changes
//! meanwhile neither repeats nor skips the rows that stayed.

use std::fmt::Write as _;

use crate::error::Problem;
use crate::head::Head;
use crate::limits;

/// A numbered page; the values are the effective ones, which the answer repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberedPage {
    pub(crate) page: u64,
    pub(crate) limit: u64,
}

/// A page behind a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CursorPage {
    /// Key of the last row sent before; `None` for the first page.
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
}

// === impl NumberedPage ===

impl NumberedPage {
    /// Reads `page` and `limit`; what is no positive number counts as absent.
    pub(crate) fn of(head: &Head) -> Self {
        Self::read(
            head.query("page").as_deref(),
            head.query("limit").as_deref(),
        )
    }

    fn read(page: Option<&str>, limit: Option<&str>) -> Self {
        let positive = |text: Option<&str>| {
            text.and_then(|text| text.parse::<i64>().ok())
                .and_then(|number| u64::try_from(number).ok())
                .filter(|number| *number > 0)
        };
        let limit = positive(limit)
            .unwrap_or(limits::TOOLHIVE_PAGE)
            .min(limits::TOOLHIVE_PAGE_MAX);
        // Clients read the number as a signed one, and so must the offset that follows from it.
        let page = positive(page).unwrap_or(1).min(i64::MAX as u64 / limit);
        Self { page, limit }
    }

    /// How many rows come before the page.
    pub(crate) fn offset(self) -> usize {
        usize::try_from((self.page - 1).saturating_mul(self.limit)).unwrap_or(usize::MAX)
    }

    /// The most rows on the page.
    pub(crate) fn len(self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

// === impl CursorPage ===

impl CursorPage {
    /// Reads `cursor` and `limit`.
    pub(crate) fn of(head: &Head) -> Result<Self, Problem> {
        Self::read(
            head.query("cursor").as_deref(),
            head.query("limit").as_deref(),
        )
    }

    fn read(cursor: Option<&str>, limit: Option<&str>) -> Result<Self, Problem> {
        let limit = match limit.filter(|limit| !limit.is_empty()) {
            None => limits::STANDARD_PAGE,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit: &usize| *limit > 0)
                .ok_or_else(|| {
                    Problem::bad_request(format!(
                        "limit must be a number from 1 to {}",
                        limits::STANDARD_PAGE_MAX
                    ))
                })?
                .min(limits::STANDARD_PAGE_MAX),
        };
        let after = cursor
            .filter(|cursor| !cursor.is_empty())
            .map(|cursor| {
                key_of(cursor).ok_or_else(|| Problem::bad_request("cursor is not one of ours"))
            })
            .transpose()?;
        Ok(Self { after, limit })
    }
}

/// The cursor behind the row of `key`.
pub(crate) fn cursor_of(key: &str) -> String {
    let mut cursor = String::with_capacity(key.len() * 2);
    for byte in key.bytes() {
        // Writing to a string does not fail.
        let _ = write!(cursor, "{byte:02x}");
    }
    cursor
}

fn key_of(cursor: &str) -> Option<String> {
    if !cursor.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let bytes = cursor
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbered(page: &str, limit: &str) -> (u64, u64) {
        let page = NumberedPage::read(Some(page), Some(limit));
        (page.page, page.limit)
    }

    #[test]
    fn odd_page_numbers_count_as_absent() {
        let none = NumberedPage::read(None, None);
        assert_eq!((none.page, none.limit), (1, 50));
        assert_eq!(numbered("2", "10"), (2, 10));
        assert_eq!(numbered("+2", "201"), (2, 200));
        for odd in ["0", "-1", "x", "", "1.5", "99999999999999999999"] {
            assert_eq!(numbered(odd, odd), (1, 50), "{odd}");
        }
    }

    #[test]
    fn f30_the_largest_page_does_not_overflow() {
        let page = NumberedPage::read(Some("9223372036854775807"), Some("1"));
        assert_eq!((page.page, page.limit), (i64::MAX as u64, 1));
        assert_eq!(i64::try_from(page.offset()), Ok(i64::MAX - 1));
        let page = NumberedPage::read(Some("9223372036854775807"), Some("200"));
        assert!(i64::try_from(page.offset()).is_ok());
    }

    #[test]
    fn a_limit_out_of_range_is_clamped_above_and_refused_below() {
        let limit = |limit: &str| CursorPage::read(None, Some(limit)).map(|page| page.limit);
        assert_eq!(limit("100"), Ok(100));
        assert_eq!(limit("101"), Ok(100));
        assert_eq!(limit(""), Ok(30));
        for odd in ["0", "-1", "x", "1.5"] {
            assert_eq!(limit(odd).unwrap_err().status(), 400, "{odd}");
        }
    }

    #[test]
    fn a_made_up_cursor_is_refused() {
        for cursor in ["x", "6", "a/b:1", "ff", "é"] {
            let problem = CursorPage::read(Some(cursor), None).unwrap_err();
            assert_eq!(problem.status(), 400, "{cursor}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_key(key in "\\PC{1,40}") {
            let page = CursorPage::read(Some(&cursor_of(&key)), None).unwrap();
            prop_assert_eq!(page.after, Some(key));
        }

        #[test]
        fn no_cursor_makes_the_reader_panic(cursor in "\\PC{0,40}") {
            let _ = CursorPage::read(Some(&cursor), None);
        }
    }
}
