//! A fault of this program that ended a task, in words.

use std::any::Any;

/// What a panic said.
#[must_use]
pub fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_owned()
}

/// A panic that said `words`, as people are told of it.
#[must_use]
pub fn own_fault(words: &str) -> String {
    format!("a fault in idpsyncd itself: {words}")
}
