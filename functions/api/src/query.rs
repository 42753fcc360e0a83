//! Reading the queries of lists.

use crate::problem::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::str::FromStr;

/// Entries of a page when the caller does not say.
const USUAL: usize = 50;
/// Most entries of a page.
const MOST: usize = 100;

/// Where a page begins and how long it is.
#[derive(Debug)]
pub(crate) struct Page<T> {
    limit: Option<usize>,
    /// The place before its first entry.
    pub(crate) after: Option<T>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { limit: None, after: None }
    }
}

impl<T: FromStr> Page<T> {
    /// Reads the parameters `limit` and `cursor`; tells what is wrong.
    pub(crate) fn take(&mut self, name: &str, value: String) -> Result<(), String> {
        if name == "limit" {
            self.limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
            self.limit.map(drop).ok_or_else(|| format!("is 1 to {MOST}"))
        } else {
            self.after = open(&value).and_then(|place| place.parse().ok());
            self.after.as_ref().map(drop).ok_or_else(|| "is the `next_cursor` of an earlier answer".to_owned())
        }
    }

    /// At most so many entries.
    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(USUAL)
    }
}

/// A place in a list as a cursor. It needs no signature: it names a place only, and the tenant is the caller's.
pub(crate) fn cursor(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

fn open(cursor: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

/// Gives each parameter of a query to `take`, which says what is wrong with it. An empty value is none.
pub(crate) fn read(
    pairs: Vec<(String, String)>,
    known: &[&str],
    mut take: impl FnMut(&str, String) -> Result<(), String>,
) -> Result<(), Vec<Fault>> {
    let (mut faults, mut seen) = (Vec::new(), Vec::new());
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        if !known.contains(&name.as_str()) {
            let names = known.join(", ");
            faults.push(Fault::parameter(&name, format!("is no parameter here: there are {names}")));
        } else if seen.contains(&name) {
            faults.push(Fault::parameter(&name, "is said once"));
        } else if let Err(why) = take(&name, value) {
            faults.push(Fault::parameter(&name, why));
        }
        seen.push(name);
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace::domain::id::NewsletterId;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let id = NewsletterId::derived(&["x"]);
        let mut page = Page::<NewsletterId>::default();
        page.take("cursor", cursor(id.as_str())).unwrap();
        assert_eq!(page.after, Some(id));
        for bad in ["", "%%", &cursor("job_1"), &cursor("")] {
            assert!(Page::<NewsletterId>::default().take("cursor", bad.to_owned()).is_err(), "{bad}");
        }
        for bad in ["0", "101", "-1", "x"] {
            assert!(page.take("limit", bad.to_owned()).is_err(), "{bad}");
        }
        page.take("limit", "7".into()).unwrap();
        assert_eq!(page.limit(), 7);
    }

    #[test]
    fn each_parameter_is_known_and_said_once() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let faults =
            read(vec![pair("a", "1"), pair("b", ""), pair("a", "2"), pair("c", "3")], &["a", "b"], |_, _| Ok(()));
        let named: Vec<_> = faults.unwrap_err().into_iter().filter_map(|fault| fault.parameter).collect();
        assert_eq!(named, ["a", "c"]);
    }
}
