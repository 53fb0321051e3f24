//! temporary
/// x
pub fn normalize(dn: &str) -> Result<String, String> {
    Ok(dn.to_lowercase())
}
