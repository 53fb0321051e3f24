//! `idpsyncd man`: the manual page, one for all commands.

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::args::Cli;

/// The page in roff: what holds for every command, then each command in a section of its own.
///
/// # Errors
/// It cannot be put together.
pub(super) fn page() -> std::io::Result<String> {
    let mut out = Vec::new();
    write(&mut out)?;
    // clap_mangen's word for what a command's help ends with.
    Ok(String::from_utf8_lossy(&out).trim_end().replace("EXTRA\n", "NOTES\n"))
}

fn write(out: &mut Vec<u8>) -> std::io::Result<()> {
    let whole = Man::new(Cli::command());
    whole.render_title(out)?;
    whole.render_name_section(out)?;
    whole.render_synopsis_section(out)?;
    whole.render_description_section(out)?;
    whole.render_options_section(out)?;
    for command in Cli::command().get_subcommands() {
        section(out, command, "idpsyncd")?;
    }
    whole.render_extra_section(out)?;
    whole.render_version_section(out)
}

/// A command's section, and those of the commands below it.
fn section(out: &mut Vec<u8>, command: &Command, above: &str) -> std::io::Result<()> {
    let name = format!("{above} {}", command.get_name());
    let mut own = Vec::new();
    // The options of every command are told once, at the top: a command taken out of its parent
    // has its own alone.
    let man = Man::new(command.clone().bin_name(name.clone()).disable_help_subcommand(true));
    man.render_synopsis_section(&mut own)?;
    man.render_description_section(&mut own)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut own)?;
    }
    if command.get_after_help().is_some() {
        man.render_extra_section(&mut own)?;
    }
    out.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
    for line in String::from_utf8_lossy(&own).lines() {
        match line.strip_prefix(".SH ") {
            Some(title) => out.extend_from_slice(format!(".SS {title}\n").as_bytes()),
            // Set once, at the top of the page.
            None if line.contains(".ds Aq ") => {}
            None => out.extend_from_slice(format!("{line}\n").as_bytes()),
        }
    }
    for below in command.get_subcommands() {
        section(out, below, &name)?;
    }
    Ok(())
}
