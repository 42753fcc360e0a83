//! Who asks, and whether the key opens this.

use crate::app::Api;
use crate::claims;
use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use jiff::{SignedDuration, Timestamp};
use millrace::domain::id::Tenant;
use millrace::domain::key::{ApiKey, Key, KeyId, Scope};
use millrace::ports::{Keys, PortError};
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

/// How long a key that was found is used without another look: so long a key that was disabled may still open.
const KEEP: SignedDuration = SignedDuration::from_secs(60);

/// How many keys are kept at most.
const MOST: usize = 500;

/// The keys, with those found lately kept in memory. Keys that are not there are not kept: one that has just been made
/// works at once.
pub struct KeyRing {
    keys: Arc<dyn Keys>,
    tenant_claim: Option<String>,
    found: Mutex<HashMap<KeyId, (Arc<Key>, Timestamp)>>,
}

impl KeyRing {
    /// An empty memory in front of `keys`.
    #[must_use]
    pub fn new(keys: Arc<dyn Keys>) -> Self {
        Self { keys, tenant_claim: None, found: Mutex::default() }
    }

    /// Takes tokens that API Gateway has checked, too. Their claim of this name is the tenant.
    #[must_use]
    pub fn with_tokens(self, tenant_claim: Option<String>) -> Self {
        Self { tenant_claim, ..self }
    }

    async fn find(&self, id: &KeyId, now: Timestamp) -> Result<Option<Arc<Key>>, PortError> {
        if let Some(key) = self.kept(id, now) {
            return Ok(Some(key));
        }
        let Some(key) = self.keys.find(id).await?.map(Arc::new) else { return Ok(None) };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MOST {
            found.clear();
        }
        found.insert(id.clone(), (Arc::clone(&key), now));
        Ok(Some(key))
    }

    fn kept(&self, id: &KeyId, now: Timestamp) -> Option<Arc<Key>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not keep a key for ever.
        let fresh = |since: &Timestamp| (SignedDuration::ZERO..KEEP).contains(&now.duration_since(*since));
        found.get(id).filter(|(_, since)| fresh(since)).map(|(key, _)| Arc::clone(key))
    }
}

/// A scope as a type: what a route needs of its caller's key.
pub trait Needs: Send {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Needs for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}

needs!(
    /// `jobs:write`.
    JobsWrite,
    /// `jobs:read`.
    JobsRead,
    /// `audience:write`.
    AudienceWrite,
    /// `audience:read`.
    AudienceRead
);

/// A caller whose key, or token, is valid and has the scope `N`. As an argument of a handler it comes before the body, so that
/// nobody without a key has a body read.
#[derive(Debug)]
pub struct Caller<N> {
    /// Whose data the caller sees.
    pub tenant: Tenant,
    shown: Shown,
    scope: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<Arc<Api>> for Caller<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        if let (Some(claim), Some(claims)) = (&api.keys.tenant_claim, claims::checked(parts)) {
            let (tenant, scopes) = claims::read(claims, claim)?;
            return Self::with(tenant, Shown::Token(scopes));
        }
        let shown = bearer(parts)?;
        let key = api.keys.find(shown.id(), api.now()).await?;
        let key = key.filter(|key| key.admits(&shown)).ok_or_else(Problem::wrong_key)?;
        let caller = Self::with(key.tenant.clone(), Shown::Key(Arc::clone(&key)))?;
        tracing::debug!(key = %key.id, tenant = %key.tenant, "key accepted");
        Ok(caller)
    }
}

impl<N: Needs> Caller<N> {
    fn with(tenant: Tenant, shown: Shown) -> Result<Self, Problem> {
        if shown.allows(N::SCOPE) {
            Ok(Self { tenant, shown, scope: PhantomData })
        } else {
            Err(Problem::missing_scope(N::SCOPE))
        }
    }

    /// Whether the caller has a further scope: for what is shown to some callers only.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.shown.allows(scope)
    }
}

/// What a caller has shown.
#[derive(Debug)]
enum Shown {
    Key(Arc<Key>),
    /// A token with these scopes.
    Token(BTreeSet<Scope>),
}

impl Shown {
    fn allows(&self, scope: Scope) -> bool {
        match self {
            Self::Key(key) => key.allows(scope),
            Self::Token(scopes) => scopes.contains(&scope) || scopes.contains(&Scope::Admin),
        }
    }
}

fn bearer(parts: &Parts) -> Result<ApiKey, Problem> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Problem::no_key()) };
    let text = value.to_str().map_err(|_| Problem::wrong_key())?;
    let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::no_key());
    }
    ApiKey::parse(key.trim()).map_err(|_| Problem::wrong_key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace::testing::MemoryKeys;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn a_found_key_is_kept_for_a_minute_and_a_missing_one_not_at_all() {
        let memory = Arc::new(MemoryKeys::default());
        let ring = KeyRing::new(memory.clone());
        let (tenant, id) = (Tenant::parse("acme").unwrap(), KeyId::parse("0101010101010101").unwrap());

        assert!(ring.find(&id, at(0)).await.unwrap().is_none());
        memory.seed(1, &tenant, &[Scope::Admin]);
        assert!(ring.find(&id, at(0)).await.unwrap().is_some());
        assert_eq!(memory.finds(), 2);

        memory.disable(&id);
        assert!(!ring.find(&id, at(59)).await.unwrap().unwrap().disabled);
        assert_eq!(memory.finds(), 2);
        assert!(ring.find(&id, at(60)).await.unwrap().unwrap().disabled);
        assert_eq!(memory.finds(), 3);
        assert!(ring.find(&id, at(-3600)).await.unwrap().is_some());
        assert_eq!(memory.finds(), 4);
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let memory = Arc::new(MemoryKeys::default());
        let ring = KeyRing::new(memory.clone());
        let tenant = Tenant::parse("acme").unwrap();
        memory.seed(1, &tenant, &[Scope::Admin]);
        let key = memory.find(&KeyId::parse("0101010101010101").unwrap()).await.unwrap().unwrap();
        for number in 0..2 * MOST {
            let id = KeyId::parse(&format!("{number:016x}")).unwrap();
            memory.add(&Key { id: id.clone(), ..key.clone() }).await.unwrap();
            ring.find(&id, at(0)).await.unwrap();
            assert!(ring.found.lock().unwrap().len() <= MOST);
        }
    }
}
