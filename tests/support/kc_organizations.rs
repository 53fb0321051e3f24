//! Organizations of a realm of a real Keycloak: made, joined, left; and people whom one manages, who came by its
//! identity provider.

use base64::Engine as _;
use idpsyncd::directory::{Interest, Kind, OrganizationInterest};
use serde_json::{Value, json};

use super::keycloak::{Keycloak, Realm, wait};

impl Realm<'_> {
    /// Switches organizations on or off.
    pub fn organizations(&self, on: bool) {
        self.put("", &json!({"organizationsEnabled": on}));
    }

    /// Makes an organization; its id.
    pub fn organization(&self, alias: &str) -> String {
        // A domain is one organization's, and has no upper case.
        let domain: String = alias.bytes().map(|byte| format!("{byte:x}")).collect();
        self.post(
            "/organizations",
            &json!({"name": format!("The {alias}"), "alias": alias,
                "domains": [{"name": format!("{domain}.example.org")}]}),
        )
    }

    /// Enables or disables an organization.
    pub fn set_organization(&self, organization: &str, enabled: bool) {
        let path = format!("/organizations/{organization}");
        let mut it = self.get(&path);
        it["enabled"] = json!(enabled);
        self.put(&path, &it);
    }

    /// Makes somebody a member.
    pub fn join_organization(&self, user: &str, organization: &str) {
        let path = format!("/organizations/{organization}/members");
        self.call("POST", &path, Some(&json!(user)));
    }

    /// Ends a membership.
    pub fn leave_organization(&self, user: &str, organization: &str) {
        self.delete(&format!("/organizations/{organization}/members/{user}"));
    }

    /// Makes a group of an organization, on top or below another; its id.
    pub fn organization_group(
        &self,
        organization: &str,
        name: &str,
        above: Option<&str>,
    ) -> String {
        let groups = format!("/organizations/{organization}/groups");
        match above {
            Some(above) => self.post(&format!("{groups}/{above}/children"), &json!({"name": name})),
            None => self.post(&groups, &json!({"name": name})),
        }
    }

    /// Puts a member into a group of the organization.
    pub fn join_organization_group(&self, user: &str, organization: &str, group: &str) {
        let path = format!("/organizations/{organization}/groups/{group}/members/{user}");
        self.call("PUT", &path, None);
    }

    /// Takes a member out of a group of the organization.
    pub fn leave_organization_group(&self, user: &str, organization: &str, group: &str) {
        self.delete(&format!("/organizations/{organization}/groups/{group}/members/{user}"));
    }

    /// Somebody whom the organization manages: they sign in by its identity provider, a realm of its own, and are
    /// here since then; the id.
    pub fn managed(&self, keycloak: &Keycloak, organization: &str, username: &str) -> String {
        let home = keycloak.realm(&format!("{}-{username}", self.name));
        home.post(
            "/clients",
            &json!({"clientId": "door", "secret": "s", "redirectUris": ["*"], "enabled": true}),
        );
        home.person(username, "pw");
        let (alias, at) = (format!("idp-{username}"), home.issuer());
        let endpoint = |name: &str| format!("{at}/protocol/openid-connect/{name}");
        self.post(
            "/identity-provider/instances",
            &json!({"alias": alias, "providerId": "oidc", "enabled": true, "config": {
                "clientId": "door", "clientSecret": "s", "clientAuthMethod": "client_secret_post",
                "authorizationUrl": endpoint("auth"), "tokenUrl": endpoint("token"), "issuer": at,
                "useJwksUrl": "true", "jwksUrl": endpoint("certs"), "validateSignature": "true",
                "defaultScope": "openid profile email"}}),
        );
        let path = format!("/organizations/{organization}/identity-providers");
        self.call("POST", &path, Some(&json!(alias)));
        let client = format!("web-{username}");
        self.post(
            "/clients",
            &json!({"clientId": client, "publicClient": true, "enabled": true,
                "redirectUris": [format!("{END}*")]}),
        );
        let mut browser = Browser::default();
        let page = browser.go(
            format!(
                "{}/protocol/openid-connect/auth?client_id={client}&redirect_uri={END}&response_type=code&scope=openid&kc_idp_hint={alias}",
                self.issuer()
            ),
            None,
        );
        let form = page.split("action=\"").nth(1).and_then(|rest| rest.split('"').next());
        let form = form.unwrap_or_else(|| panic!("no form: {page}")).replace("&amp;", "&");
        let end = browser.go(form, Some([("username", username), ("password", "pw")].to_vec()));
        assert!(end.contains("code="), "signing in by the identity provider ended at {end}");
        let members = self.get(&format!("/organizations/{organization}/members?search={username}"));
        let member = members.as_array().unwrap().iter().find(|it| it["username"] == username);
        let member = member.unwrap_or_else(|| panic!("{username} is no member: {members}"));
        assert_eq!(member["membershipType"], "MANAGED");
        member["id"].as_str().unwrap().to_owned()
    }

    /// What the claim `organization` of a person's token says; they sign in by password.
    pub fn organization_claim(&self, client: &str, username: &str, password: &str) -> Value {
        let form = [
            ("grant_type", "password"),
            ("client_id", client),
            ("username", username),
            ("password", password),
            ("scope", "openid organization:*"),
        ];
        let url = format!("{}/protocol/openid-connect/token", self.issuer());
        let (status, body) = super::keycloak::post_form(&url, &form);
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let token = body["access_token"].as_str().unwrap();
        let payload = token.split('.').nth(1).unwrap();
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()["organization"].clone()
    }
}

/// Where a sign-in ends: nobody listens there.
const END: &str = "http://127.0.0.1:1/";

/// As much of a browser as signing in needs.
#[derive(Default)]
struct Browser {
    /// Path, name, value.
    cookies: Vec<(String, String, String)>,
}

impl Browser {
    /// Follows redirects; the page that it comes to, or the address where it ends.
    fn go(&mut self, url: String, form: Option<Vec<(&str, &str)>>) -> String {
        let (mut url, mut form) = (url, form);
        for _ in 0..12 {
            let path = url.parse::<url::Url>().unwrap().path().to_owned();
            let cookies =
                self.cookies.iter().filter(|(below, ..)| path.starts_with(below.as_str()));
            let cookies: Vec<String> =
                cookies.map(|(_, name, value)| format!("{name}={value}")).collect();
            let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
            let client = client.build().unwrap();
            let request = match form.take() {
                Some(form) => client.post(&url).form(&form),
                None => client.get(&url),
            };
            let request = request.header("cookie", cookies.join("; "));
            let (set, location, body) = wait(async move {
                let answer = request.send().await.unwrap();
                let text =
                    |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
                let set: Vec<String> =
                    answer.headers().get_all("set-cookie").iter().map(text).collect();
                let location = answer.headers().get("location").map(text);
                (set, location, answer.text().await.unwrap())
            });
            set.iter().for_each(|cookie| self.keep(cookie));
            match location {
                Some(end) if end.starts_with(END) => return end,
                Some(next) => url = next,
                None => return body,
            }
        }
        panic!("too many redirects, last to {url}")
    }

    fn keep(&mut self, cookie: &str) {
        let mut parts = cookie.split(';').map(str::trim);
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let path = parts.find_map(|part| part.strip_prefix("Path=")).unwrap_or("/").to_owned();
        self.cookies.retain(|(other, n, _)| (other, n.as_str()) != (&path, name));
        self.cookies.push((path, name.to_owned(), value.to_owned()));
    }
}

/// Rules that name everything of some organizations, and all else.
pub struct Organized(Vec<OrganizationInterest>);

impl Organized {
    /// These organizations and all of their groups, by alias.
    pub fn new(aliases: &[&str]) -> Organized {
        let mut asked: Vec<_> = aliases
            .iter()
            .map(|alias| OrganizationInterest {
                alias: (*alias).to_owned(),
                members: true,
                groups: true,
            })
            .collect();
        asked.sort();
        Organized(asked)
    }
}

impl Interest for Organized {
    fn reaches(&self, _: Kind, _: &str, _: &str, _: &str, _: &str, _: &[&str]) -> bool {
        true
    }

    fn attributes(&self) -> &[(String, String)] {
        &[]
    }

    fn organizations(&self) -> &[OrganizationInterest] {
        &self.0
    }
}
