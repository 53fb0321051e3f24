//! `organization` and `organization_group` of a mapping.

use super::super::reader::{Node, Read, Table, all};
use super::trailing_slash;
use crate::directory::split_organization_group;
use crate::model::Diagnostic;
use crate::resolve::MappingRule;

/// `organization = "acme"`
pub(super) fn members(node: &Node<'_>) -> Read<MappingRule> {
    let alias = node.text()?;
    if split_organization_group(&alias).is_some() {
        return Err(node.bad(format!(
            "`{}` is a group of an organization: it goes under `organization_group`",
            alias.escape_debug()
        )));
    }
    check_alias(node, &alias)?;
    Ok(MappingRule::Organization(alias))
}

/// `organization_group = "acme:/Eng/ML"`, `["acme", "Eng", "a/b"]`, or `{ organization = "acme", id = "…" }`
pub(super) fn group(node: &Node<'_>, warnings: &mut Vec<Diagnostic>) -> Read<MappingRule> {
    if node.is_list() {
        let mut names = all(node.some_list()?.iter().map(Node::text))?;
        if names.len() < 2 {
            return Err(node.bad(
                "is not an organization's alias and the names of a group from the top, \
                 `[\"acme\", \"Eng\", \"ML\"]`",
            ));
        }
        let alias = names.remove(0);
        check_alias(node, &alias)?;
        return Ok(MappingRule::OrganizationGroupPath { alias, names });
    }
    if let Some(table) = node.as_table() {
        return by_id(&table);
    }
    if node.as_str().is_none() {
        return Err(node.wrong_type("the like of `acme:/Eng/ML`, a list of names, or a table"));
    }
    let text = node.text()?;
    let group = text.trim_end_matches('/');
    let Some((alias, _)) = split_organization_group(group) else {
        return Err(node.bad(format!(
            "`{}` is not a group of an organization: expected its alias and the group's path, the like \
             of `acme:/Eng/ML`",
            text.escape_debug()
        )));
    };
    check_alias(node, alias)?;
    if group.len() < text.len() {
        let list = "organization_group = [\"alias\", \"…\"]";
        warnings.push(trailing_slash(node, (&text, group), list));
    }
    Ok(MappingRule::OrganizationGroup(group.to_owned()))
}

/// `{ organization = "acme", id = "…" }`
fn by_id(table: &Table<'_>) -> Read<MappingRule> {
    let alias = table.required("organization", |node| {
        let alias = node.text()?;
        check_alias(node, &alias)?;
        Ok(alias)
    });
    let id = table.required("id", super::stable_id);
    table.finish();
    Ok(MappingRule::OrganizationGroupId { alias: alias?, id: id? })
}

/// Keycloak takes no alias with white space or a slash in it.
fn check_alias(node: &Node<'_>, alias: &str) -> Read<()> {
    if alias.is_empty() || alias.contains(|c: char| c == '/' || c.is_whitespace()) {
        return Err(node.bad(format!(
            "`{}` is not the alias of an organization: expected the like of `acme`",
            alias.escape_debug()
        )));
    }
    Ok(())
}
