//! A digest of everything that a plan depends on: the file's meaning, not its layout.
//!
//! Every struct is taken apart field by field, so that a new field does not compile until someone
//! has decided whether a plan depends on it.

use super::types::{Config, DefaultAdmin, SourceConfig, Sync};
use crate::model::WorkloadIdentity;
use crate::model::encoding::Encoder;
use crate::model::username::UsernameFrom;
use crate::plan::Guard;
use crate::policy::Policy;
use crate::resolve::{
    LinkBy, Mapping, MappingRule, PolicyText, Provision, RoleDefinition, RoleTemplate,
};

/// The digest, as 64 hex digits.
pub(super) fn fingerprint(config: &Config) -> String {
    let Config {
        file: _,
        store: _,
        store_password: _,
        schedule: _,
        sync: this_sync,
        guard: this_guard,
        tokens: _,
        sources,
        default_admin,
        roles,
        templates,
        mappings,
        catalog,
        workload: this_workload,
        gateway: _,
        // What it implies is in the roles.
        h2o: _,
        fingerprint: _,
        diagnostics: _,
    } = config;
    // The version is the rendering's own: change it with the rendering.
    let mut w = Encoder::new("idpsyncd configuration 3");
    sync(&mut w, this_sync);
    guard(&mut w, this_guard);
    w.number(sources.len() as u64);
    for this in sources {
        source(&mut w, this);
    }
    // Where the secret lies says nothing of what it is: a run looks at that itself.
    w.maybe(
        default_admin.as_ref().map(|DefaultAdmin { username, password: _, role }| [username, role]),
    );
    w.number(roles.len() as u64);
    for (name, this) in roles {
        w.text(name);
        role(&mut w, this);
    }
    w.number(templates.len() as u64);
    for this in templates {
        template(&mut w, this);
    }
    w.number(mappings.len() as u64);
    for this in mappings {
        mapping(&mut w, this);
    }
    w.number(catalog.len() as u64);
    for (action, resource) in catalog {
        // Its text is its syntax.
        w.text(&action.to_string());
        w.maybe(resource.as_ref().map(|resource| [resource.as_str()]));
    }
    workload(&mut w, this_workload);
    w.hex()
}

fn sync(w: &mut Encoder, sync: &Sync) {
    let Sync { default_mode, missing_after, provision, username } = sync;
    w.text(default_mode.as_str());
    w.flag(missing_after.is_some());
    w.number(missing_after.map_or(0, |after| after.as_secs()));
    w.text(match provision {
        Provision::All => "all",
        Provision::Mapped => "mapped",
    });
    w.text(match username {
        UsernameFrom::Username => "username",
        UsernameFrom::Email => "email",
    });
}

fn guard(w: &mut Encoder, guard: &Guard) {
    let Guard { max_lost_percent, max_lost_floor, max_disabled_percent, protected_roles, window } =
        guard;
    w.text(&max_lost_percent.to_string());
    w.number(*max_lost_floor);
    w.text(&max_disabled_percent.to_string());
    w.number(protected_roles.len() as u64);
    for (name, least) in protected_roles {
        w.text(name);
        w.number(*least);
    }
    w.number(window.as_secs());
}

fn source(w: &mut Encoder, source: &SourceConfig) {
    // How soon a change is seen is nothing that a plan depends on.
    let SourceConfig { name, grants, link_by, lifecycle, watch: _, kind } = source;
    w.text(name);
    w.maybe(grants.as_ref().map(|globs| globs.iter().map(|glob| glob.glob().glob())));
    w.text(match link_by {
        LinkBy::Username => "username",
        LinkBy::Email => "email",
    });
    w.flag(*lifecycle);
    kind.encode(w);
}

fn role(w: &mut Encoder, role: &RoleDefinition) {
    let RoleDefinition { description, everyone, mode, external_roles, policies } = role;
    w.text(description);
    w.flag(*everyone);
    w.text(mode.as_str());
    w.list(external_roles);
    w.number(policies.len() as u64);
    for Policy { effect, actions, resources } in policies {
        w.text(effect.as_str());
        w.list(actions.iter().map(ToString::to_string));
        w.maybe(resources.as_ref().map(|list| list.iter().map(ToString::to_string)));
    }
}

fn template(w: &mut Encoder, template: &RoleTemplate) {
    let RoleTemplate { name, regex: _, mode, description, policies } = template;
    w.text(name);
    w.text(mode.as_str());
    w.text(description);
    w.number(policies.len() as u64);
    for PolicyText { effect, actions, resources } in policies {
        w.text(effect.as_str());
        w.list(actions);
        w.maybe(resources.as_ref());
    }
}

fn workload(w: &mut Encoder, rows: &[WorkloadIdentity]) {
    w.number(rows.len() as u64);
    for row in rows {
        let WorkloadIdentity { pool, platform, namespace, service_account, cloud, identity, why } =
            row;
        w.list([pool, platform, why]);
        w.maybe(namespace.as_ref().map(|it| [it]));
        w.maybe(service_account.as_ref().map(|it| [it]));
        w.maybe(cloud.map(|cloud| [cloud.as_str()]));
        w.maybe(identity.as_ref().map(|it| [it]));
    }
}

fn mapping(w: &mut Encoder, mapping: &Mapping) {
    let Mapping { number, source, rule, roles } = mapping;
    w.number(*number as u64);
    w.maybe(source.as_ref().map(|source| [source]));
    let (word, texts): (&str, Vec<&str>) = match rule {
        MappingRule::Group(group) => ("group", vec![group]),
        MappingRule::GroupPath(names) => ("path", names.iter().map(String::as_str).collect()),
        MappingRule::GroupId(id) => ("group_id", vec![id]),
        MappingRule::GroupName(name) => ("group_name", vec![name]),
        MappingRule::GroupRegex { text, regex: _, folded: _ } => ("group_regex", vec![text]),
        MappingRule::Organization(alias) => ("organization", vec![alias]),
        MappingRule::OrganizationGroup(group) => ("organization_group", vec![group]),
        MappingRule::OrganizationGroupPath { alias, names } => {
            let names = names.iter().map(String::as_str);
            ("organization_path", std::iter::once(alias.as_str()).chain(names).collect())
        }
        MappingRule::OrganizationGroupId { alias, id } => {
            ("organization_group_id", vec![alias, id])
        }
        MappingRule::RealmRole(role) => ("realm_role", vec![role]),
        MappingRule::ClientRole(role) => ("client_role", vec![role]),
        MappingRule::ClientRoleOf { client, role } => ("client_role_of", vec![client, role]),
        MappingRule::Attribute { name, value } => ("attribute", vec![name, value]),
    };
    w.text(word);
    w.list(texts);
    w.list(roles);
}
