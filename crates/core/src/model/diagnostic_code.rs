//! What is worth telling has a code. `docs/output.md` has a row for each.

use super::words::words;

words! {
    /// What kind of thing a [`Diagnostic`](super::Diagnostic) is. Its word never changes.
    pub enum DiagnosticCode {
        // The configuration.
        /// A secret goes over the network unencrypted.
        SecretInClear = "secret-in-clear",
        /// What a source says comes over the network unencrypted.
        SourceInClear = "source-in-clear",
        /// A secret's file can be read by every user of the machine.
        SecretReadable = "secret-readable",
        /// A listener beyond the machine is unencrypted.
        ListenerInClear = "listener-in-clear",
        /// The TLS listener asks no client for a certificate.
        ListenerOpen = "listener-open",
        /// Whoever has no identity may do everything.
        AnonymousUnlimited = "anonymous-unlimited",
        /// The gateway has no route.
        NoRoutes = "no-routes",
        /// Names, not ids, say whom a token is for.
        NamesDecide = "names-decide",
        /// An issuer's keys come unencrypted from another machine.
        KeysInClear = "keys-in-clear",
        /// AuthZEN's callers are told of no TLS.
        AuthzenInClear = "authzen-in-clear",
        /// Email addresses, not ids, say whom AuthZEN's callers ask about.
        AddressesDecide = "addresses-decide",
        /// A proof of possession may be for any host.
        ProofsForAnyHost = "proofs-for-any-host",
        /// Tokens live longer at their issuer than they count here.
        TokensOutlive = "tokens-outlive",
        /// Just-in-time provisioning by claims gives an issuer's bearers nothing.
        ClaimsWithoutSource = "claims-without-source",
        /// An issuer's keys could not be had.
        IssuerUnreachable = "issuer-unreachable",
        /// The store cannot be read, or could not be made.
        StoreUnusable = "store-unusable",
        /// The standby of `store.read_url` is not read.
        StandbyUnread = "standby-unread",
        /// A route that no role's policy allows.
        RouteNobodyMay = "route-nobody-may",
        /// A policy allows what no route asks for.
        PolicyWithoutRoute = "policy-without-route",
        /// A Deny without resources does not cover requests that have one.
        DenyWithoutResources = "deny-without-resources",
        /// A policy lets people make tokens in the names of others.
        TokensForOthers = "tokens-for-others",
        /// A source without `grants` could give a protected role.
        SourceWithoutGrants = "source-without-grants",
        /// A role that denies hangs on a bare name.
        RestrictionByName = "restriction-by-name",
        /// No source says who is there.
        NoLifecycle = "no-lifecycle",
        /// A mapping gives a role that everyone holds.
        MappingOfEveryone = "mapping-of-everyone",
        /// A mapping gives a role whose mode is `ignore`.
        MappingOfIgnored = "mapping-of-ignored",
        /// A mapping gives a role outside its source's `grants`.
        MappingOutsideGrants = "mapping-outside-grants",
        /// A mapping can never reach a protected role.
        MappingOfProtected = "mapping-of-protected",
        /// A template can never make a protected role.
        TemplateOfProtected = "template-of-protected",
        /// `sync_mode` of a role that everyone holds.
        SyncModeUnused = "sync-mode-unused",
        /// A group's path that ends in a slash.
        TrailingSlash = "trailing-slash",
        /// `client/role` that has two readings.
        ClientRoleAmbiguous = "client-role-ambiguous",
        /// A pattern of files fits none, or a file that may be absent is.
        FileAbsent = "file-absent",
        /// H2O has no administrator.
        H2oNoAdministrator = "h2o-no-administrator",
        /// Everyone has H2O's full access.
        H2oOpen = "h2o-open",
        /// A tag of H2O without roles.
        H2oTagUnused = "h2o-tag-unused",
        /// H2O's administrators can be made by naming a group.
        H2oAdministratorOpen = "h2o-administrator-open",
        /// A part of OSMO's configuration that is not read.
        OsmoUnread = "osmo-unread",
        /// OSMO takes its roles from elsewhere.
        OsmoElsewhere = "osmo-elsewhere",
        /// What OSMO's values leave out was taken from the chart's defaults.
        OsmoDefaults = "osmo-defaults",
        /// An action that OSMO does not have.
        OsmoActionUnknown = "osmo-action-unknown",
        /// `external_roles` of a role that everybody holds at OSMO.
        OsmoExternalRolesUnused = "osmo-external-roles-unused",
        /// Workload identities without an imported pool.
        WorkloadNoPool = "workload-no-pool",
        /// A service account without a namespace.
        WorkloadNoNamespace = "workload-no-namespace",
        /// Which cloud identity pods reach is unknown.
        WorkloadUnknown = "workload-unknown",
        /// Pods that are nobody in any cloud.
        WorkloadNobody = "workload-nobody",
        /// AKS gives pods no token.
        WorkloadNoLabel = "workload-no-label",
        /// A cloud identity of several namespaces.
        WorkloadShared = "workload-shared",
        /// A backend that no imported pool runs on.
        WorkloadBackendUnused = "workload-backend-unused",

        // Rules and people.
        /// A role may be held through what was never read in full.
        RoleUnread = "role-unread",
        /// A bare name, path or client role that fits several things of a source.
        Ambiguous = "ambiguous",
        /// What a pattern captured is refused.
        CaptureRefused = "capture-refused",
        /// A rule comes to a role that there is not.
        RoleUndeclared = "role-undeclared",
        /// A rule would reach a protected role in a way that may not.
        ProtectedUnreachable = "protected-unreachable",
        /// A rule would give what the source's `grants` do not name.
        OutsideGrants = "outside-grants",
        /// A mapping that matches nothing.
        MappingUnmatched = "mapping-unmatched",
        /// A role that nothing in any source gives.
        RoleUnmatched = "role-unmatched",
        /// A source's role that differs from another in case only.
        RoleCaseConflict = "role-case-conflict",
        /// A template does not take a name.
        TemplateRefuses = "template-refuses",
        /// A template would make a protected role.
        TemplateProtected = "template-protected",
        /// A group that a mapping names in whole is called otherwise now.
        GroupRenamed = "group-renamed",
        /// Somebody's name cannot be a username.
        UsernameRefused = "username-refused",
        /// A user cannot be renamed: the name is taken.
        RenameRefused = "rename-refused",
        /// Somebody is back whose name is another's by now.
        ReturnRefused = "return-refused",
        /// A username is another person's now.
        UsernameReused = "username-reused",
        /// Several people come to one username.
        UsernameCollision = "username-collision",
        /// A newcomer bears the name of an account that is never linked.
        NeverLinked = "never-linked",
        /// Somebody has another id in a source than before.
        OtherId = "other-id",
        /// People whom only a source without lifecycle knows.
        KnownAlone = "known-alone",
        /// A protected role has fewer holders than it should.
        ProtectedBelowMinimum = "protected-below-minimum",
        /// Users of whom the source's answer cannot be believed yet.
        EnabledUnknown = "enabled-unknown",
        /// The default admin is not there.
        DefaultAdminAbsent = "default-admin-absent",
        /// The default admin's token cannot be made.
        DefaultAdminToken = "default-admin-token",
        /// The default admin is refused: its secret, or its name.
        DefaultAdminRefused = "default-admin-refused",
        /// The key that signs exchanged tokens cannot be used.
        SigningKeyRefused = "signing-key-refused",

        // Sources.
        /// A source could not be read at all.
        SourceFailed = "source-failed",
        /// A list of a source was not read in full.
        SourcePartial = "source-partial",
        /// A realm that is disabled.
        RealmDisabled = "realm-disabled",
        /// An export without a part that others have.
        ExportIncomplete = "export-incomplete",
        /// A file with users beside an export is not read.
        UsersFileUnread = "users-file-unread",
        /// A configured client that a source does not have.
        ClientAbsent = "client-absent",
        /// A value of an export that is not what Keycloak writes there.
        OddValue = "odd-value",
        /// A role that is held and not listed.
        RoleUnlisted = "role-unlisted",
        /// A role that is listed twice, or has another's id.
        RoleDuplicate = "role-duplicate",
        /// Groups that cannot be told apart.
        GroupDuplicate = "group-duplicate",
        /// Organizations that cannot be told apart.
        OrganizationDuplicate = "organization-duplicate",
        /// A realm with organizations, which are switched off.
        OrganizationsOff = "organizations-off",
        /// Roles of groups of organizations, which reach nobody.
        OrganizationRolesUnused = "organization-roles-unused",
        /// A role called `.` or `..`.
        RoleNameRefused = "role-name-refused",
        /// A group's path that fits no group, or several.
        GroupPathUnclear = "group-path-unclear",
        /// Entries that are replication conflicts.
        ReplicationConflicts = "replication-conflicts",
        /// Entries that cannot be used as users or groups.
        EntriesUnusable = "entries-unusable",
        /// A value of a user that cannot be read.
        ValueUnreadable = "value-unreadable",
        /// A group's members are not all known.
        MembersUnknown = "members-unknown",
        /// Members of a group that lead to no user.
        MembersLost = "members-lost",
        /// What a person's entry says of its groups is not what the groups say.
    MemberOfDiffers = "member-of-differs",
    /// A group that rules name and that gives no rights.
    DistributionGroup = "distribution-group",
    /// An attribute that no user shows.
        AttributeUnseen = "attribute-unseen",
        /// An attribute that the realm's user profile hides.
        AttributeHidden = "attribute-hidden",
        /// Memberships of people who were not read.
        MembershipsOfStrangers = "memberships-of-strangers",
        /// The server refuses pages of the configured size.
        PageSizeRefused = "page-size-refused",
        /// A directory is read anonymously.
        AnonymousBind = "anonymous-bind",
        /// What the service account may not do and must.
        RightsMissing = "rights-missing",
        /// A token that does not show its own rights.
        RightsHidden = "rights-hidden",
        /// The service account may do more than it needs.
        RightsTooWide = "rights-too-wide",
        /// What everyone normally holds contains a role that a rule names.
        DefaultRolesMatched = "default-roles-matched",
        /// A federation whose people or outages cannot be told for sure.
        FederationUncertain = "federation-uncertain",
        /// A federation that does not answer.
        FederationDown = "federation-down",
        /// The realm keeps no events, so its changes cannot be followed.
    EventsOff = "events-off",
    /// The service account may not read events.
    EventsUnseen = "events-unseen",
    /// Not all events that count are kept.
    EventsPartly = "events-partly",
    /// Events are kept for ever.
    EventsUnbounded = "events-unbounded",
    /// Deletions are not told to this identity.
    DeletionsUnseen = "deletions-unseen",
    /// A federation's mapper whose effect is not seen.
        MapperUnseen = "mapper-unseen",
        /// A role that is in one configured client and not in another.
        RoleInOneClient = "role-in-one-client",
        /// A role that is assigned to somebody in one configured client and not in another.
        AssignedInOneClient = "assigned-in-one-client",
        /// A name that nearly follows a template's convention.
        OutsideConvention = "outside-convention",
    }
}
