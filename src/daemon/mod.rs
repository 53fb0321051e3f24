//! Schedule, signals, systemd.
pub async fn run(_: &std::path::Path, _: crate::config::Config) -> Result<(), String> {
    Ok(())
}
