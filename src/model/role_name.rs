//! What a platform role may be called.

/// Whether `name` can be a platform role's name: something, no white space, control character or
/// comma (gateways list roles separated by commas), and not `.` or `..` (Keycloak cannot serve
/// those).
///
/// # Errors
/// It cannot; the message says why, control characters escaped.
pub fn check_role_name(name: &str) -> Result<(), String> {
    let shown = name.escape_debug();
    if name.is_empty() {
        return Err("a role's name is empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("`{shown}` cannot be a role's name: Keycloak refuses `.` and `..`"));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "`{shown}` cannot be a role's name: it holds white space or a control character"
        ));
    }
    if name.contains(',') {
        return Err(format!(
            "`{shown}` cannot be a role's name: it holds a comma, and gateways list roles \
             separated by commas"
        ));
    }
    Ok(())
}
