//! `[h2o]`: the App Store's roles and tags, its IAM policies, and the platform roles that all of
//! them imply.
//!
//! A role that is named here need not be declared under `[roles]`. One that is declared, or that a
//! template makes, keeps what it has and gets what it may at H2O besides.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::fault::{Code, RawFault};
use super::files::Absent;
use super::reader::{Node, Read, Reported, Table, all};
use super::role::{RoleNames, one_case};
use super::value::BadValue;
use crate::model::{Diagnostic, DiagnosticCode, Mode, RoleNameError, Subject, check_role_name};
use crate::platform::h2o::{self, IamPolicy};
use crate::policy::{Policy, Resource, ResourcePattern, allow_all};
use crate::resolve::{RoleDefinition, RoleTemplate};

/// Where a server's `RoleClaim` stands when it is not set.
const ROLE_CLAIM: &str = "realm_access.roles";

/// The role that is everyone's where no role has full access by itself.
pub(super) const EVERYONE: &str = "h2o-full-access";

/// `[h2o]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct H2oConfig {
    /// The claim with the roles. Default `realm_access.roles`, as the server's.
    pub role_claim: String,
    /// Whose holders administer; absent: nobody does.
    pub admin_role: Option<String>,
    /// Whose holders have full access; absent: everyone has.
    pub full_access_role: Option<String>,
    /// Tags with the roles that they carry.
    pub tags: Vec<H2oTag>,
    /// `iam`: paths and patterns, relative ones made absolute.
    pub iam: Vec<PathBuf>,
    /// The files that they fit, in the order of the list, those of one pattern sorted.
    pub files: Vec<IamFile>,
    /// Patterns of `iam` that no file fits, in words: what was denied there before is denied no more.
    pub unfound: Vec<Diagnostic>,
}

/// `[[h2o.tag]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct H2oTag {
    /// Distinct.
    pub name: String,
    /// Whose holders put it on apps and take it off.
    pub admin_role: Option<String>,
    /// Whose holders see and run what bears it.
    pub visitor_role: Option<String>,
}

/// A file with IAM policies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IamFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds, in its order.
    pub policies: Vec<IamPolicy>,
}

impl H2oConfig {
    /// Every IAM policy, in the order of the files.
    pub fn policies(&self) -> impl Iterator<Item = &IamPolicy> {
        self.files.iter().flat_map(|file| &file.policies)
    }
}

/// A role that is named somewhere in `[h2o]`, and what it may for that.
struct Named<'a> {
    node: Node<'a>,
    /// The file that names it, where that is not the configuration.
    file: Option<PathBuf>,
    role: String,
    policies: Vec<Policy>,
}

/// `[h2o]` as far as it could be read.
#[derive(Default)]
pub(super) struct ReadH2o<'a> {
    /// The section; absent where there is none, or where a fault was reported.
    pub config: Option<H2oConfig>,
    named: Vec<Named<'a>>,
    everyone: bool,
    failed: Option<Reported>,
}

impl ReadH2o<'_> {
    /// The proof that a fault was reported, where one was.
    pub(super) fn done(self) -> Read<Option<H2oConfig>> {
        match self.failed {
            Some(reported) => Err(reported),
            None => Ok(self.config),
        }
    }

    /// Where the roles stand in tokens.
    pub(super) fn role_claim(&self) -> Option<&str> {
        self.config.as_ref().map(|config| config.role_claim.as_str())
    }
}

/// Reads `[h2o]` and the files that it names.
pub(super) fn h2o<'a>(root: &Table<'a>, warnings: &mut Vec<Diagnostic>) -> ReadH2o<'a> {
    let Some(node) = root.get("h2o") else { return ReadH2o::default() };
    let mut found = ReadH2o::default();
    match node.table() {
        Ok(table) => match section(&table, &mut found, warnings) {
            Ok(config) => found.config = Some(config),
            Err(reported) => found.failed = Some(reported),
        },
        Err(reported) => found.failed = Some(reported),
    }
    found
}

fn section<'a>(
    table: &Table<'a>,
    found: &mut ReadH2o<'a>,
    warnings: &mut Vec<Diagnostic>,
) -> Read<H2oConfig> {
    let role_claim = table.or("role_claim", ROLE_CLAIM.to_owned(), Node::text);
    let admin_role = table.optional("admin_role", |node| {
        let role = node.parsed(role_name)?;
        found.name(node, role.clone(), h2o::administrator());
        Ok(role)
    });
    if !table.has("admin_role") {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::H2oNoAdministrator,
            Subject::Setting("h2o.admin_role".to_owned()),
            "h2o.admin_role is absent: nobody administers here; a server that has no \
             `AdminRoleName` takes `admin`, so name that where it is meant",
        ));
    }
    // Empty is not a role that nobody holds.
    let full_access_role = table.optional("full_access_role", |node| {
        if node.string()?.is_empty() {
            return Ok(None);
        }
        let role = node.parsed(role_name)?;
        found.name(node, role.clone(), h2o::full_access());
        Ok(Some(role))
    });
    if matches!(full_access_role, Ok(None | Some(None))) {
        found.everyone = true;
        let how = if table.has("full_access_role") { "empty" } else { "absent" };
        warnings.push(Diagnostic::warning(DiagnosticCode::H2oOpen, Subject::Setting("h2o.full_access_role".to_owned()), format!(
            "h2o.full_access_role is {how}: that means everyone has full access, and nobody is a \
             visitor; every enabled user holds the role `{EVERYONE}` for it"
        )));
    }
    let tags = table.or("tag", Vec::new(), |node| tags(node, found, warnings));
    let files = table.optional("iam", |node| iam(node, found, warnings));
    table.finish();
    let (iam, files, unfound) = files?.unwrap_or_default();
    Ok(H2oConfig {
        role_claim: role_claim?,
        admin_role: admin_role?,
        full_access_role: full_access_role?.flatten(),
        tags: tags?,
        iam,
        files,
        unfound,
    })
}

fn role_name(text: &str) -> Result<String, RoleNameError> {
    check_role_name(text).map(|()| text.to_owned())
}

impl<'a> ReadH2o<'a> {
    fn name(&mut self, node: &Node<'a>, role: String, policies: Vec<Policy>) {
        self.named.push(Named { node: node.clone(), file: None, role, policies });
    }
}

fn tags<'a>(
    node: &Node<'a>,
    found: &mut ReadH2o<'a>,
    warnings: &mut Vec<Diagnostic>,
) -> Read<Vec<H2oTag>> {
    let mut names: Vec<String> = Vec::new();
    all((1usize..).zip(node.tables()?).map(|(place, table)| {
        let name = table.required("name", |node| {
            let name = node.text()?;
            // Whoever asks about the tag names it as a resource.
            if format!("tag/{name}").parse::<Resource>().is_err() {
                return Err(node.bad(format!(
                    "`{}` cannot be a tag's name: as the resource `tag/NAME` it holds no white \
                     space and no `*`",
                    name.escape_debug()
                )));
            }
            if names.contains(&name) {
                return Err(node.fault(
                    Code::Conflict,
                    format!("there is a tag `{}` already", name.escape_debug()),
                ));
            }
            names.push(name.clone());
            Ok(name)
        });
        let resource = name.as_ref().ok().map(|it| ResourcePattern::Exact(format!("tag/{it}")));
        let mut role = |key: &'static str, may: fn(ResourcePattern) -> Vec<Policy>| {
            table.optional(key, |node| {
                let role = node.parsed(role_name)?;
                let policies = resource.clone().map(may).unwrap_or_default();
                found.name(node, role.clone(), policies);
                Ok(role)
            })
        };
        let admin_role = role("admin_role", h2o::tag_administrator);
        let visitor_role = role("visitor_role", h2o::tag_visitor);
        table.finish();
        if matches!((&admin_role, &visitor_role), (Ok(None), Ok(None))) {
            warnings.push(Diagnostic::warning(
                DiagnosticCode::H2oTagUnused,
                Subject::Setting(format!("h2o.tag[{place}]")),
                format!(
                    "h2o.tag[{place}] has neither `admin_role` nor `visitor_role`: it gives nothing"
                ),
            ));
        }
        Ok(H2oTag { name: name?, admin_role: admin_role?, visitor_role: visitor_role? })
    }))
}

/// The patterns of `iam`, and what is in the files that they fit.
fn iam<'a>(
    node: &Node<'a>,
    found: &mut ReadH2o<'a>,
    warnings: &mut Vec<Diagnostic>,
) -> Read<(Vec<PathBuf>, Vec<IamFile>, Vec<Diagnostic>)> {
    let patterns = all(node.list()?.iter().map(Node::path));
    let named = node.files(Absent::FileIsFault)?;
    let unfound: Vec<Diagnostic> = named.absent.into_iter().map(|absent| absent.told("")).collect();
    warnings.extend(unfound.iter().cloned());
    let files = all(named.found.into_iter().map(|file| {
        let policies = h2o::parse(&file.text).map_err(|faults| {
            let shown = file.path.display();
            let told: Vec<Reported> =
                faults.iter().map(|fault| node.bad(format!("`{shown}`: {fault}"))).collect();
            // There is a fault wherever there are no policies.
            told.last().copied().unwrap_or_else(|| node.bad(format!("`{shown}` is refused")))
        })?;
        for (role, policy) in policies.iter().flat_map(IamPolicy::of_roles) {
            found.named.push(Named {
                node: node.clone(),
                file: Some(file.path.clone()),
                role: role.to_owned(),
                policies: vec![policy],
            });
        }
        Ok(IamFile { path: file.path, policies })
    }));
    Ok((patterns?, files?, unfound))
}

/// Adds to `roles`, and to the names in `known`, the roles that `[h2o]` names, with what they may.
pub(super) fn imply(
    found: &ReadH2o<'_>,
    roles: Read<BTreeMap<String, RoleDefinition>>,
    templates: Option<&[RoleTemplate]>,
    default_mode: Mode,
    root: &Table<'_>,
    known: &mut RoleNames,
) -> Read<BTreeMap<String, RoleDefinition>> {
    if found.failed.is_some() {
        known.incomplete = true;
    }
    let cases = known.declared.keys().map(|name| (one_case(name), name.clone())).collect();
    let (roles, mut failed) = match roles {
        Ok(roles) => (roles, None),
        Err(reported) => (BTreeMap::new(), Some(reported)),
    };
    let mut implied =
        Implied { roles, cases, known, templates: templates.unwrap_or_default(), default_mode };
    if found.everyone
        && let Err(reported) = implied.give_everyone_full_access(root)
    {
        failed = Some(reported);
    }
    for named in &found.named {
        if let Err(reported) = implied.give(named) {
            failed = Some(reported);
        }
    }
    match failed {
        Some(reported) => Err(reported),
        None => Ok(implied.roles),
    }
}

/// The roles as they grow by what `[h2o]` names.
struct Implied<'a> {
    roles: BTreeMap<String, RoleDefinition>,
    /// The names there are by what they are whatever their case: two that differ in it alone are refused.
    cases: BTreeMap<String, String>,
    known: &'a mut RoleNames,
    templates: &'a [RoleTemplate],
    default_mode: Mode,
}

impl Implied<'_> {
    /// Full access where it is everyone's: by a role of its own, which may be declared.
    fn give_everyone_full_access(&mut self, root: &Table<'_>) -> Read<()> {
        let refuse = |message: String| {
            let key = format!("roles.{EVERYONE}");
            let code = Code::Conflict;
            Err(root.ctx.report(RawFault { span: 0..0, key, code, message, did_you_mean: None }))
        };
        match self.cases.get(&one_case(EVERYONE)).map(String::as_str) {
            Some(EVERYONE) if self.known.declared.get(EVERYONE) == Some(&false) => {
                return refuse(
                    "full access is everyone's (`h2o.full_access_role`), and so is this role: set \
                     `everyone = true`"
                        .to_owned(),
                );
            }
            Some(EVERYONE) => {}
            Some(other) => return refuse(format!("differs from role `{other}` in case only")),
            None => {
                let role = RoleDefinition {
                    description: "Full access at H2O, which is everyone's".to_owned(),
                    everyone: true,
                    mode: self.default_mode,
                    external_roles: Vec::new(),
                    policies: Vec::new(),
                };
                self.roles.insert(EVERYONE.to_owned(), role);
                self.declare(EVERYONE, true);
            }
        }
        if let Some(role) = self.roles.get_mut(EVERYONE) {
            role.policies.extend(h2o::full_access());
        }
        Ok(())
    }

    /// What the named role may at H2O besides; the role itself where it is not declared.
    fn give(&mut self, named: &Named<'_>) -> Read<()> {
        let Named { role: name, policies, .. } = named;
        let made = match self.cases.get(&one_case(name)) {
            Some(other) if other == name => Ok(()),
            Some(other) => {
                return Err(named.refuse(
                    Code::Conflict,
                    &format!(
                        "`{}` differs from role `{}` in case only",
                        name.escape_debug(),
                        other.escape_debug()
                    ),
                ));
            }
            None => self.make(named),
        };
        // Not there: it is declared, and at fault.
        if let Some(role) = self.roles.get_mut(name) {
            role.policies.extend(policies.iter().cloned());
        }
        made
    }

    /// The named role, which nobody declares. A name that is refused counts as declared, so that it is
    /// one fault wherever else it stands.
    fn make(&mut self, named: &Named<'_>) -> Read<()> {
        let made = implied(&named.role, self.templates, self.default_mode)
            .map_err(|why| named.refuse(Code::BadValue, &why.to_string()))
            .map(|role| drop(self.roles.insert(named.role.clone(), role)));
        self.declare(&named.role, false);
        made
    }

    fn declare(&mut self, name: &str, everyone: bool) {
        self.cases.insert(one_case(name), name.to_owned());
        self.known.declared.insert(name.to_owned(), everyone);
    }
}

impl Named<'_> {
    /// Records a fault where the role is named.
    fn refuse(&self, code: Code, why: &str) -> Reported {
        match &self.file {
            Some(file) => self.node.fault(code, format!("`{}`: role {why}", file.display())),
            None => self.node.fault(code, why),
        }
    }
}

/// A role that is named and not declared: what a template makes of the name, else nothing yet. The
/// template's restrictions stay with whoever holds it.
fn implied(name: &str, templates: &[RoleTemplate], mode: Mode) -> Result<RoleDefinition, BadValue> {
    let made = templates.iter().find_map(|it| Some((it, it.instantiate(name)?)));
    let (mode, description, policies) = match made {
        Some((template, Ok((_, policies)))) if allow_all(&policies) => {
            return Err(BadValue::new(format!(
                "`{}` is what template `{}` makes, which allows `*:*`, and no template makes a \
                 protected role: declare it under `[roles]`",
                name.escape_debug(),
                template.name.escape_debug()
            )));
        }
        Some((template, Ok((description, policies)))) => (template.mode, description, policies),
        Some((_, Err(why))) => return Err(BadValue::new(why.to_string())),
        None => (mode, String::new(), Vec::new()),
    };
    let external_roles = vec![name.to_owned()];
    Ok(RoleDefinition { description, everyone: false, mode, external_roles, policies })
}

#[cfg(test)]
mod tests;
