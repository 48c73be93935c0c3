//! How the state file is laid out: a line for each subnet with all that is in it, so that it can be read by eye, that an error's line
//! says which subnet it is in, and that it has two thirds of the bytes of one with a line for each field.
//!
//! `scripts/cleanup.sh` reads it without a parser of JSON: what it needs, the host's part, is above the depth of one line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// How deep a value lies that is all on one line: a subnet in `network`, `vpcs`, a VPC, `subnets`.
const ONE_LINE: usize = 6;

/// A value as JSON.
pub fn text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::with_capacity(16 << 10);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Layout::default()))?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

#[derive(Default)]
struct Layout {
    depth: usize,
    has_value: bool,
}

impl Layout {
    fn open<W: Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(bracket)
    }

    fn close<W: Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value && self.depth + 1 < ONE_LINE {
            self.new_line(writer)?;
        }
        self.has_value = true;
        writer.write_all(bracket)
    }

    /// Before a value of an array or a key of an object.
    fn part<W: Write + ?Sized>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        match (is_first, self.depth < ONE_LINE) {
            (true, false) => Ok(()),
            (false, false) => writer.write_all(b", "),
            (true, true) => self.new_line(writer),
            (false, true) => {
                writer.write_all(b",")?;
                self.new_line(writer)
            }
        }
    }

    fn new_line<W: Write + ?Sized>(&self, writer: &mut W) -> io::Result<()> {
        const INDENTED: &[u8] = &[b' '; 2 * ONE_LINE];
        writer.write_all(b"\n")?;
        writer.write_all(&INDENTED[..2 * self.depth])
    }
}

impl Formatter for Layout {
    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        self.part(writer, is_first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        self.part(writer, is_first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_deep_is_on_one_line() {
        let value =
            serde_json::json!({"a": [], "b": {"c": {"d": {"e": {"f": {"g": [1, 2], "h": {}}, "i": {}}}, "j": [3]}}});
        let text = text(&value).unwrap();
        let wanted = r#"{
  "a": [],
  "b": {
    "c": {
      "d": {
        "e": {
          "f": {"g": [1, 2], "h": {}},
          "i": {}
        }
      },
      "j": [
        3
      ]
    }
  }
}
"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
