//! Numbers that stand for people, roles and rows: each kind a type of its own, so that the compiler
//! keeps one from being taken for another.
//!
//! `typed-index-collections` and `index_vec` do the same, but make an index of any `usize` by a cast
//! that wraps or panics. Here a number that does not fit cannot come about.

/// Makes a number a type of its own.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default, serde::Serialize,
            serde::Deserialize,
        )]
        pub struct $name($raw);

        impl $name {
            /// The one that is written as `number`.
            #[must_use]
            pub const fn new(number: $raw) -> Self {
                $name(number)
            }

            /// As it is written.
            #[must_use]
            pub const fn get(self) -> $raw {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The store's own number for a person. Never reused.
    UserId(u32)
}

impl UserId {
    /// The number after this one; `None` after the last there can be.
    #[must_use]
    pub fn next(self) -> Option<UserId> {
        self.0.checked_add(1).map(UserId)
    }
}
