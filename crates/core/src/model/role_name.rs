//! What a platform role may be called.

/// Whether `name` can be a platform role's name: something, no white space, control character or
/// comma (gateways list roles separated by commas), and not `.` or `..` (Keycloak cannot serve
/// those).
///
/// # Errors
/// It cannot; the message says why, control characters escaped.
pub fn check_role_name(name: &str) -> Result<(), RoleNameError> {
    if name.is_empty() {
        return Err(RoleNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(RoleNameError::Dots(name.to_owned()));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(RoleNameError::Blank(name.to_owned()));
    }
    if name.contains(',') {
        return Err(RoleNameError::Comma(name.to_owned()));
    }
    Ok(())
}

/// Why a name cannot be a platform role's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoleNameError {
    /// It is empty.
    #[error("a role's name is empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("`{0}` cannot be a role's name: Keycloak refuses `.` and `..`")]
    Dots(String),
    /// It holds what separates or hides.
    #[error(
        "`{}` cannot be a role's name: it holds white space or a control character",
        .0.escape_debug()
    )]
    Blank(String),
    /// It holds what separates roles in a header.
    #[error(
        "`{}` cannot be a role's name: it holds a comma, and gateways list roles separated by commas",
        .0.escape_debug()
    )]
    Comma(String),
}
