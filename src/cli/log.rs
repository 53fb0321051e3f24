//! How log lines look: text for people, one JSON object a line for programs.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::{MakeVisitor, VisitFmt, VisitOutput};
use tracing_subscriber::fmt::format::{
    DefaultFields, DefaultVisitor, Format, Json, JsonFields, Writer,
};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One JSON object a line, the fields of the event beside `timestamp`, `level` and `target`.
///
/// A record that a library writes with the `log` crate comes with fields of its own, `log.file`
/// among them: a path of the machine that built the program. They are left out.
pub struct JsonLines(Format<Json>);

impl JsonLines {
    /// Ready for a subscriber whose fields are [`JsonFields`].
    #[must_use]
    pub fn new() -> Self {
        JsonLines(Format::default().json().flatten_event(true))
    }
}

impl Default for JsonLines {
    fn default() -> Self {
        JsonLines::new()
    }
}

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    JsonFields: for<'w> FormatFields<'w>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !event.fields().any(|field| field.name().starts_with("log.")) {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let mut object: Map<String, Value> = serde_json::from_str(&line).map_err(|_| fmt::Error)?;
        object.retain(|name, _| !name.starts_with("log."));
        writeln!(writer, "{}", Value::Object(object))
    }
}

/// The field that says what kind of thing a line tells: for programs, so not in text.
const CODE: &str = "code";

/// The fields of a line of text: as they come, without [`CODE`].
#[derive(Default)]
pub struct TextFields(DefaultFields);

impl<'a> MakeVisitor<Writer<'a>> for TextFields {
    type Visitor = TextVisitor<'a>;

    fn make_visitor(&self, target: Writer<'a>) -> Self::Visitor {
        TextVisitor(self.0.make_visitor(target))
    }
}

/// Writes the fields of one line.
pub struct TextVisitor<'a>(DefaultVisitor<'a>);

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != CODE {
            self.0.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.record_error(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != CODE {
            self.0.record_debug(field, value);
        }
    }
}

impl VisitOutput<fmt::Result> for TextVisitor<'_> {
    fn finish(self) -> fmt::Result {
        self.0.finish()
    }
}

impl VisitFmt for TextVisitor<'_> {
    fn writer(&mut self) -> &mut dyn fmt::Write {
        self.0.writer()
    }
}
