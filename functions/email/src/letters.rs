//! The texts of single mails, compiled into the binary.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

/// The welcome mail's subject.
pub(crate) const WELCOME_SUBJECT: &str = "Welcome";

/// The templates, read once.
pub(crate) struct Letters(Environment<'static>);

/// Both parts of a mail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) text: String,
    pub(crate) html: String,
}

impl Letters {
    /// Compiles the templates.
    ///
    /// # Errors
    /// When one of them does not compile, which a test would have shown.
    pub(crate) fn new() -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(
            |name| {
                if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
            },
        );
        environment.add_template("welcome.txt", include_str!("../templates/welcome.txt"))?;
        environment.add_template("welcome.html", include_str!("../templates/welcome.html"))?;
        Ok(Self(environment))
    }

    /// The welcome mail for somebody of this name, if it is known.
    ///
    /// # Errors
    /// When a template asks for something it is not given.
    pub(crate) fn welcome(&self, name: Option<&str>) -> Result<Parts, minijinja::Error> {
        let name = name.unwrap_or_default();
        let part = |template| self.0.get_template(template)?.render(context! { name });
        Ok(Parts { text: part("welcome.txt")?, html: part("welcome.html")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_greeted_and_escaped() {
        let parts = Letters::new().unwrap().welcome(Some("Ada <b>")).unwrap();
        assert!(parts.text.starts_with("Hello Ada <b>,"));
        assert!(parts.html.contains("Hello Ada &lt;b&gt;, welcome!"));
    }

    #[test]
    fn without_a_name_it_is_still_a_greeting() {
        let parts = Letters::new().unwrap().welcome(None).unwrap();
        assert!(parts.text.starts_with("Hello there,"));
        assert!(parts.html.contains("Hello there, welcome!"));
    }
}
