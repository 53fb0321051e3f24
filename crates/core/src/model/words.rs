//! Enums each of whose variants has a word for programs that never changes.

/// Declares an enum with the word of each variant: in output, in logs and in what is stored. Gives it
/// `ALL`, `as_str`, `Display`, and `serde` by the word.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $Enum:ident {
            $($(#[$doc:meta])* $Name:ident = $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum $Enum {
            $($(#[$doc])* $Name,)*
        }

        impl $Enum {
            /// Every one of them.
            pub const ALL: &'static [$Enum] = &[$($Enum::$Name,)*];

            /// The word for programs.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $($Enum::$Name => $word,)*
                }
            }
        }

        impl std::fmt::Display for $Enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $Enum {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $Enum {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                let found = $Enum::ALL.iter().find(|it| it.as_str() == word);
                found.copied().ok_or_else(|| {
                    serde::de::Error::custom(format!("`{word}` is no {}", stringify!($Enum)))
                })
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::model::{CauseKind, ChangeKind, DiagnosticCode, Origin};

    #[test]
    fn words_are_kebab_case_and_each_is_one_variants() {
        let words = |all: &[&'static str]| all.to_vec();
        for mut words in [
            words(&DiagnosticCode::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>()),
            words(&ChangeKind::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>()),
            words(&CauseKind::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>()),
            words(&Origin::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>()),
        ] {
            for word in &words {
                let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
                assert!(
                    word.split('-').all(|part| !part.is_empty() && part.chars().all(plain)),
                    "{word}"
                );
            }
            let all = words.len();
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), all);
        }
    }

    #[test]
    fn a_word_is_read_as_it_is_written_and_no_other_is() {
        for kind in ChangeKind::ALL {
            let text = serde_json::to_string(kind).unwrap();
            assert_eq!(text, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<ChangeKind>(&text).unwrap(), *kind);
        }
        assert!(serde_json::from_str::<ChangeKind>("\"grant-lost\"").is_err());
    }
}
