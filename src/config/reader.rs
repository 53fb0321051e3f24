//! Walks the TOML tree: every look-up is recorded, so that unknown keys show; every fault is
//! collected, so that one pass finds them all.
//!
//! [`Reported`] is the proof that a fault was recorded: who holds one may stop, and nobody can
//! stop without. Read every key of a table into a [`Read`] first, [`Table::finish`] it, and only
//! then use `?`: else a first fault would hide the others.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Code, FileFault, RawFault, listed, near_miss};
use super::files::Files;

/// A fault was recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported(());

/// A value, or the proof that a fault says why there is none.
pub(crate) type Read<T> = Result<T, Reported>;

/// Collects what is found.
pub(super) struct Ctx {
    /// The folder that relative paths start from.
    pub base: PathBuf,
    /// Where the files come from that the configuration names.
    pub files: Files,
    faults: RefCell<Vec<RawFault>>,
    /// Those of the files that the configuration names.
    elsewhere: RefCell<Vec<FileFault>>,
    /// Keys that some unknown key was probably meant to be: not reported as missing as well.
    meant: RefCell<BTreeSet<String>>,
}

impl Ctx {
    /// For a file in `base`.
    pub(super) fn new(base: PathBuf, files: Files) -> Self {
        Ctx {
            base,
            files,
            faults: RefCell::default(),
            elsewhere: RefCell::default(),
            meant: RefCell::default(),
        }
    }

    /// Records a fault.
    pub(super) fn report(&self, fault: RawFault) -> Reported {
        self.faults.borrow_mut().push(fault);
        Reported(())
    }

    /// Records a fault of a file that the configuration names.
    pub(super) fn report_in(&self, fault: FileFault) -> Reported {
        self.elsewhere.borrow_mut().push(fault);
        Reported(())
    }

    /// Everything that was recorded: of the configuration itself, and of the files that it names. A
    /// key that is there but misspelt is one fault, not two.
    pub(super) fn into_faults(self) -> (Vec<RawFault>, Vec<FileFault>) {
        let meant = self.meant.into_inner();
        let mut faults = self.faults.into_inner();
        let is_meant = |key: &str| {
            let below = |meant: &String| {
                key.strip_prefix(meant.as_str()).is_some_and(|rest| rest.starts_with('.'))
            };
            meant.contains(key) || meant.iter().any(below)
        };
        faults.retain(|fault| fault.code != Code::MissingKey || !is_meant(&fault.key));
        (faults, self.elsewhere.into_inner())
    }
}

/// All values, or the proof that one of them is not there. Looks at every item, unlike `collect`.
pub(crate) fn all<T>(items: impl IntoIterator<Item = Read<T>>) -> Read<Vec<T>> {
    let items: Vec<Read<T>> = items.into_iter().collect();
    items.into_iter().collect()
}

/// `path.key`, with the key quoted where TOML would want it.
pub(super) fn child(path: &str, key: &str) -> String {
    let bare =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let key = if bare { key.to_owned() } else { format!("\"{}\"", key.escape_debug()) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A value with its place and its key's path.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    /// Where faults go.
    pub(super) ctx: &'a Ctx,
    /// The key's path.
    pub key: String,
    /// Bytes of the file.
    pub span: Range<usize>,
    value: &'a DeValue<'a>,
}

impl<'a> Node<'a> {
    fn new(ctx: &'a Ctx, key: String, value: &'a Spanned<DeValue<'a>>) -> Self {
        Node { ctx, key, span: value.span(), value: value.get_ref() }
    }

    /// Records a fault here.
    pub(crate) fn fault(&self, code: Code, message: impl Into<String>) -> Reported {
        self.fault_near(code, message, None)
    }

    /// Records a value that is not possible here.
    pub(crate) fn bad(&self, message: impl Into<String>) -> Reported {
        self.fault(Code::BadValue, message)
    }

    /// Records a fault here with the name that was probably meant.
    pub(crate) fn fault_near(
        &self,
        code: Code,
        message: impl Into<String>,
        did_you_mean: Option<String>,
    ) -> Reported {
        self.ctx.report(RawFault {
            span: self.span.clone(),
            key: self.key.clone(),
            code,
            message: message.into(),
            did_you_mean,
        })
    }

    /// Records that something else was expected here. Says what is there, never its value.
    pub(crate) fn wrong_type(&self, expected: &str) -> Reported {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(Code::WrongType, format!("expected {expected}, found {found}"))
    }

    /// The string here, if it is one.
    pub(crate) fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The boolean here, if it is one; records nothing.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// Whether this is a list.
    pub(crate) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// Any string.
    pub(crate) fn string(&self) -> Read<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    /// A string with something in it and without control characters.
    pub(crate) fn text(&self) -> Read<String> {
        let text = self.string()?;
        if text.trim().is_empty() {
            return Err(self.bad("is empty"));
        }
        if text.chars().any(char::is_control) {
            return Err(self.bad("holds a control character"));
        }
        Ok(text.to_owned())
    }

    /// A string that `parse` understands; its error is the message.
    pub(crate) fn parsed<T, E: std::fmt::Display>(
        &self,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Read<T> {
        parse(self.string()?).map_err(|error| self.bad(error.to_string()))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong_type("`true` or `false`"))
    }

    /// A string, a boolean or a number, as JSON has it.
    pub(crate) fn scalar(&self) -> Read<serde_json::Value> {
        let number = match self.value {
            DeValue::String(text) => return Ok(text.as_ref().into()),
            DeValue::Boolean(value) => return Ok((*value).into()),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(Into::into)
            }
            DeValue::Float(number) => {
                number.as_str().parse().ok().and_then(serde_json::Number::from_f64)
            }
            _ => return Err(self.wrong_type("a string, `true` or `false`, or a number")),
        };
        number
            .map(serde_json::Value::Number)
            .ok_or_else(|| self.bad("is not a number that JSON has"))
    }

    /// A whole number in a range.
    pub(crate) fn integer(&self, range: std::ops::RangeInclusive<u64>) -> Read<u64> {
        let DeValue::Integer(number) = self.value else {
            return Err(self.wrong_type("a whole number"));
        };
        u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            // TOML's integers, and SQLite's, have 64 bits with a sign.
            .filter(|number| range.contains(number) && i64::try_from(*number).is_ok())
            .ok_or_else(|| match *range.end() {
                u64::MAX => {
                    self.bad(format!("`{number}` is not a whole number from {}", range.start()))
                }
                end => self.bad(format!(
                    "`{number}` is not a whole number from {} to {end}",
                    range.start()
                )),
            })
    }

    /// A number from 0 to 100.
    pub(crate) fn percent(&self) -> Read<f64> {
        let (text, number) = match self.value {
            DeValue::Integer(number) => (
                number.to_string(),
                u32::from_str_radix(number.as_str(), number.radix()).ok().map(f64::from),
            ),
            DeValue::Float(number) => (number.to_string(), number.as_str().parse::<f64>().ok()),
            _ => return Err(self.wrong_type("a number")),
        };
        number
            .filter(|number| (0.0..=100.0).contains(number))
            .ok_or_else(|| self.bad(format!("`{text}` is not a number from 0 to 100")))
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Read<T> {
        let given = self.string()?;
        match words.iter().find(|(word, _)| *word == given) {
            Some((_, value)) => Ok(*value),
            None => {
                let known = || words.iter().map(|(word, _)| *word);
                let message =
                    format!("`{}` is not one of {}", given.escape_debug(), listed(known()));
                Err(self.fault_near(Code::BadValue, message, near_miss(given, known())))
            }
        }
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Read<Vec<Node<'a>>> {
        let array = self.value.as_array().ok_or_else(|| self.wrong_type("a list"))?;
        Ok(self.items(array))
    }

    fn items(&self, array: &'a toml::de::DeArray<'a>) -> Vec<Node<'a>> {
        (1usize..)
            .zip(array.iter())
            .map(|(place, item)| Node::new(self.ctx, format!("{}[{place}]", self.key), item))
            .collect()
    }

    /// The items of a list that must have some.
    pub(crate) fn some_list(&self) -> Read<Vec<Node<'a>>> {
        let list = self.list()?;
        if list.is_empty() {
            return Err(self.bad("is an empty list"));
        }
        Ok(list)
    }

    /// The table here.
    pub(crate) fn table(&self) -> Read<Table<'a>> {
        let table = self.value.as_table().ok_or_else(|| self.wrong_type("a table"))?;
        Ok(Table::new(self.ctx, self.key.clone(), self.span.clone(), table))
    }

    /// The table here, if it is one; records nothing.
    pub(crate) fn as_table(&self) -> Option<Table<'a>> {
        let table = self.value.as_table()?;
        Some(Table::new(self.ctx, self.key.clone(), self.span.clone(), table))
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables(&self) -> Read<Vec<Table<'a>>> {
        match self.value.as_array() {
            Some(array) => all(self.items(array).iter().map(Node::table)),
            None => Err(self.wrong_type(&format!("a list of tables, each written `[[{}]]`", {
                // Places in lists are no part of a header.
                let mut header = String::new();
                let mut inside = false;
                for c in self.key.chars() {
                    inside = (inside || c == '[') && c != ']';
                    if !inside && c != ']' {
                        header.push(c);
                    }
                }
                header
            }))),
        }
    }
}

/// A table whose keys are looked up by name.
pub(crate) struct Table<'a> {
    /// Where faults go.
    pub(super) ctx: &'a Ctx,
    /// The table's path; empty for the whole file.
    pub key: String,
    /// Bytes of the file: those of its header.
    pub span: Range<usize>,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    /// A table of the tree.
    pub(super) fn new(
        ctx: &'a Ctx,
        key: String,
        span: Range<usize>,
        table: &'a DeTable<'a>,
    ) -> Self {
        Table { ctx, key, span, table, asked: RefCell::default() }
    }

    /// Records a fault of the table as a whole.
    pub(crate) fn fault(&self, code: Code, message: impl Into<String>) -> Reported {
        self.ctx.report(RawFault {
            span: self.span.clone(),
            key: self.key.clone(),
            code,
            message: message.into(),
            did_you_mean: None,
        })
    }

    /// The proof that an unknown key was reported that was probably meant to be one of `keys`.
    /// Ask after [`Table::finish`].
    pub(crate) fn meant(&self, keys: &[&str]) -> Option<Reported> {
        let meant = self.ctx.meant.borrow();
        keys.iter().any(|key| meant.contains(&child(&self.key, key))).then_some(Reported(()))
    }

    /// Records that a key is missing; `key` may go down into tables that are missing with it.
    pub(crate) fn missing(&self, key: &str, message: impl Into<String>) -> Reported {
        self.ctx.report(RawFault {
            span: self.span.clone(),
            key: key.split('.').fold(self.key.clone(), |path, key| child(&path, key)),
            code: Code::MissingKey,
            message: message.into(),
            did_you_mean: None,
        })
    }

    /// The value of `key`, which is known here from now on.
    pub(crate) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
        }
        let value = self.table.get(key)?;
        Some(Node::new(self.ctx, child(&self.key, key), value))
    }

    /// Whether `key` is there. Does not make it known.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node<'a>) -> Read<T>,
    ) -> Read<T> {
        match self.get(key) {
            Some(node) => read(&node),
            None => Err(self.missing(key, "required key is missing")),
        }
    }

    /// The value of a key that may be there.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node<'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.get(key).map(|node| read(&node)).transpose()
    }

    /// The value of a key that may be there, else `default`.
    pub(crate) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Node<'a>) -> Read<T>,
    ) -> Read<T> {
        Ok(self.optional(key, read)?.unwrap_or(default))
    }

    /// A key that belongs to another kind of table than this one: there, it is a fault that says
    /// so, and not an unknown key.
    pub(crate) fn refuse(&self, key: &'static str, why: &str) {
        // Not through `get`: what does not belong here is no near miss either.
        if let Some((name, _)) = self.table.get_key_value(key) {
            self.ctx.report(RawFault {
                span: name.span(),
                key: child(&self.key, key),
                code: Code::UnknownKey,
                message: why.to_owned(),
                did_you_mean: None,
            });
        }
    }

    /// All entries, each key with its value and its own place.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Range<usize>, Node<'a>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(name, value)| {
                let text: &'a str = name.get_ref().as_ref();
                (text, name.span(), Node::new(self.ctx, child(&self.key, text), value))
            })
            .collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    /// Reports every key that nobody asked for; `refused` ones were reported already.
    pub(crate) fn finish_but(&self, refused: &[&str]) {
        let asked = self.asked.borrow();
        for name in self.table.keys() {
            let text: &str = name.get_ref().as_ref();
            if asked.contains(&text) || refused.contains(&text) {
                continue;
            }
            let near = near_miss(text, asked.iter().copied());
            if let Some(near) = &near {
                self.ctx.meant.borrow_mut().insert(child(&self.key, near));
            }
            let message = match near {
                Some(_) => "unknown key".to_owned(),
                None => format!("unknown key; known here: {}", listed(asked.iter().copied())),
            };
            self.ctx.report(RawFault {
                span: name.span(),
                key: child(&self.key, text),
                code: Code::UnknownKey,
                message,
                did_you_mean: near,
            });
        }
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(&self) {
        self.finish_but(&[]);
    }
}
