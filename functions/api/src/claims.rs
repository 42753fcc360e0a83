//! Callers that show a token of the owner's identity provider instead of an API key. API Gateway's JWT authorizer has checked
//! signature, issuer, audience and times before the function is called; what is left is whose data the token opens.

use crate::problem::Problem;
use axum::http::request::Parts;
use lambda_http::request::RequestContext;
use millrace::domain::id::Tenant;
use millrace::domain::key::Scope;
use std::collections::{BTreeSet, HashMap};

/// The claims of a token that the gateway has checked; a caller cannot write them.
pub(crate) fn checked(parts: &Parts) -> Option<&HashMap<String, String>> {
    let Some(RequestContext::ApiGatewayV2(context)) = parts.extensions.get::<RequestContext>() else { return None };
    Some(&context.authorizer.as_ref()?.jwt.as_ref()?.claims)
}

/// The tenant that the claim `claim` names, and the scopes. Scopes are in `scope` ([RFC 9068](https://www.rfc-editor.org/rfc/rfc9068)) or
/// `scp`, with or without the name of a resource server before them (`millrace/jobs:write`); others are passed over.
pub(crate) fn read(claims: &HashMap<String, String>, claim: &str) -> Result<(Tenant, BTreeSet<Scope>), Problem> {
    let tenant = claims.get(claim).and_then(|text| Tenant::parse(text).ok()).ok_or_else(Problem::no_tenant)?;
    let listed = claims.get("scope").or_else(|| claims.get("scp")).map(String::as_str).unwrap_or_default();
    // The gateway writes a list as "[a b]".
    let words = listed.trim_start_matches('[').trim_end_matches(']').split([' ', ',']);
    let scopes = words.filter_map(|word| word.rsplit('/').next()?.parse().ok()).collect();
    Ok((tenant, scopes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(name: &str, value: &str) -> Vec<Scope> {
        let claims = [("org", "acme"), (name, value)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        read(&HashMap::from(claims), "org").unwrap().1.into_iter().collect()
    }

    #[test]
    fn scopes_are_read_as_providers_write_them() {
        assert_eq!(scopes("scope", "openid jobs:write jobs:read"), [Scope::JobsWrite, Scope::JobsRead]);
        assert_eq!(
            scopes("scope", "millrace/jobs:write https://api.example.com/admin"),
            [Scope::JobsWrite, Scope::Admin]
        );
        assert_eq!(scopes("scp", "[jobs:read audience:read]"), [Scope::JobsRead, Scope::AudienceRead]);
        assert_eq!(scopes("roles", "admin"), []);
        assert_eq!(scopes("scope", "jobs:writer administrator"), []);
    }

    #[test]
    fn a_token_without_a_tenant_opens_nothing() {
        for tenant in ["", "A b", "acme#rival"] {
            let claims =
                HashMap::from([("org".to_owned(), tenant.to_owned()), ("scope".to_owned(), "admin".to_owned())]);
            assert!(read(&claims, "org").is_err(), "{tenant}");
            assert!(read(&claims, "tenant").is_err());
        }
    }
}
