//! The lines of a CSV object, read in ranges: any line may be the first.

use crate::domain::import::{Refusal, separator};
use crate::large_file::Store;
use crate::ports::{Found, PortError};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Bytes of one read.
const RANGE: u64 = 1024 * 1024;
/// Longest line, in bytes without its quotes.
const LONGEST: usize = 16 * 1024;
/// Most fields of a line.
const FIELDS: usize = 256;

/// One line: mostly one, but a field in quotes may hold line breaks.
pub(super) struct Line {
    /// Where it begins, from 1.
    pub(super) number: u64,
    /// Its fields.
    pub(super) fields: Result<Vec<String>, Refusal>,
}

/// Reads the lines of an object, one after the other, in bounded memory.
pub(super) struct Lines {
    store: Store,
    key: String,
    found: Found,
    reader: Reader,
    input: Vec<u8>,
    /// How much of `input` is used up.
    used: usize,
    /// Where `input` ends in the object.
    end: u64,
    /// Line breaks before the next line.
    breaks: u64,
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    /// Begins at the byte `offset`, which is where a line begins, after so many line breaks.
    ///
    /// # Errors
    /// When the first piece cannot be read.
    pub(super) async fn open(
        store: Store,
        key: String,
        found: Found,
        offset: u64,
        breaks: u64,
    ) -> Result<Self, PortError> {
        let mut lines = Self {
            store,
            key,
            found,
            reader: Reader::new(),
            input: Vec::new(),
            used: 0,
            end: offset,
            breaks,
            output: vec![0; LONGEST],
            ends: vec![0; FIELDS],
        };
        lines.fill().await?;
        Ok(lines)
    }

    /// What separates the fields, when this is the beginning of the object.
    pub(super) fn guess(&self) -> u8 {
        separator(self.input.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default())
    }

    /// Reads by this separator from now on.
    pub(super) fn separated_by(mut self, separator: u8) -> Self {
        self.reader = ReaderBuilder::new().delimiter(separator).build();
        self
    }

    /// Where the next line begins.
    pub(super) fn offset(&self) -> u64 {
        self.end - (self.input.len() - self.used) as u64
    }

    /// How many line breaks there are before it.
    pub(super) fn breaks(&self) -> u64 {
        self.breaks
    }

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// When the object cannot be read.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, PortError> {
        let (mut out, mut fields, mut too_long, mut number) = (0, 0, false, None);
        loop {
            if self.used == self.input.len() {
                self.fill().await?;
            }
            // Nothing left is how the reader is told that this is the end.
            let rest = &self.input[self.used..];
            let (result, read, written, ended) =
                self.reader.read_record(rest, &mut self.output[out..], &mut self.ends[fields..]);
            for byte in &rest[..read] {
                if number.is_none() && !matches!(byte, b'\n' | b'\r') {
                    number = Some(self.breaks + 1);
                }
                self.breaks += u64::from(*byte == b'\n');
            }
            self.used += read;
            out += written;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    // The rest of it is read and dropped.
                    too_long = true;
                    (out, fields) = (0, 0);
                }
                ReadRecordResult::Record => {
                    let fields = if too_long { Err(Refusal::TooLong) } else { self.texts(fields) };
                    return Ok(Some(Line { number: number.unwrap_or(self.breaks + 1), fields }));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    fn texts(&self, fields: usize) -> Result<Vec<String>, Refusal> {
        let mut from = 0;
        let text = |end: &usize| {
            let text = std::str::from_utf8(&self.output[from..*end]).map_err(|_| Refusal::NotText)?;
            from = *end;
            Ok(text.to_owned())
        };
        self.ends[..fields].iter().map(text).collect()
    }

    async fn fill(&mut self) -> Result<(), PortError> {
        self.input.clear();
        self.used = 0;
        if self.end < self.found.size {
            self.input = self.store.files.read(&self.key, &self.found.tag, self.end, RANGE).await?;
            self.end += self.input.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Blobs as _;
    use crate::testing::MemoryBlobs;
    use proptest::prelude::*;
    use std::sync::Arc;

    async fn open(text: &[u8], offset: u64, breaks: u64) -> Lines {
        let blobs = MemoryBlobs::default();
        blobs.put("list.csv", text.to_vec(), "text/csv").await.unwrap();
        let store = Store { files: Arc::new(blobs.clone()), blobs: Arc::new(blobs) };
        let found = store.files.find("list.csv").await.unwrap().unwrap();
        Lines::open(store, "list.csv".into(), found, offset, breaks).await.unwrap()
    }

    /// All lines, with where each ends.
    async fn all(text: &[u8], offset: u64, breaks: u64) -> Vec<(u64, Result<Vec<String>, Refusal>, u64, u64)> {
        let mut lines = open(text, offset, breaks).await;
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push((line.number, line.fields, lines.offset(), lines.breaks()));
        }
        assert_eq!(lines.offset(), text.len() as u64);
        found
    }

    fn fields(texts: &[&str]) -> Result<Vec<String>, Refusal> {
        Ok(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[tokio::test]
    async fn lines_are_numbered_as_an_editor_does() {
        let text = "\u{feff}email,name\r\n\r\na@b.c,\"Two\r\nlines, one field\"\n\n\nd@e.f\r\n,\n\"\"\nlast";
        let found = all(text.as_bytes(), 0, 0).await;
        let lines: Vec<_> = found.into_iter().map(|(number, fields, ..)| (number, fields)).collect();
        let expected = [
            (1, fields(&["email", "name"])),
            (3, fields(&["a@b.c", "Two\r\nlines, one field"])),
            (7, fields(&["d@e.f"])),
            (8, fields(&["", ""])),
            (9, fields(&[""])),
            (10, fields(&["last"])),
        ];
        assert_eq!(lines, expected);
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_text_costs_its_own_line() {
        let mut text = b"a,b\n".to_vec();
        text.extend(vec![b'x'; 3 * LONGEST]);
        text.extend(b",1\nc,d\n");
        text.extend(vec![b','; 2 * FIELDS]);
        text.extend(b"\ne,\xff\ng,h\n\"never closed\n1,2\n");
        text.extend(vec![b'y'; 2 * LONGEST]);
        let found: Vec<_> = all(&text, 0, 0).await.into_iter().map(|(number, fields, ..)| (number, fields)).collect();
        let expected = [
            (1, fields(&["a", "b"])),
            (2, Err(Refusal::TooLong)),
            (3, fields(&["c", "d"])),
            (4, Err(Refusal::TooLong)),
            (5, Err(Refusal::NotText)),
            (6, fields(&["g", "h"])),
            (7, Err(Refusal::TooLong)),
        ];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_file_of_many_ranges_is_read_whole() {
        let text: String = (0..150_000).map(|i| format!("reader{i}@example.com,\"Reader, {i}\"\n")).collect();
        assert!(text.len() as u64 > 3 * RANGE);
        let found = all(text.as_bytes(), 0, 0).await;
        assert_eq!(found.len(), 150_000);
        for (i, (number, read, ..)) in found.into_iter().enumerate() {
            assert_eq!(number, i as u64 + 1);
            assert_eq!(read, fields(&[&format!("reader{i}@example.com"), &format!("Reader, {i}")]));
        }
    }

    #[test]
    fn an_empty_file_has_no_lines() {
        let run = |text: &'static [u8]| futures::executor::block_on(all(text, 0, 0));
        assert!(run(b"").is_empty() && run(b"\r\n\n").is_empty());
    }

    proptest! {
        /// Whoever begins after any line reads the same from there, whatever the file holds.
        #[test]
        fn any_line_may_be_the_first(text in "([a-c,\"\r\n]|\u{e4}){0,60}") {
            futures::executor::block_on(async {
                let whole = all(text.as_bytes(), 0, 0).await;
                for (i, (_, _, offset, breaks)) in whole.iter().enumerate() {
                    let rest = all(text.as_bytes(), *offset, *breaks).await;
                    assert_eq!(rest, whole[i + 1..], "after line {i} of {text:?}");
                }
            });
        }
    }
}
