//! The texts of single mails, compiled into the binary.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

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
        environment.add_template("confirm.txt", include_str!("../templates/confirm.txt"))?;
        environment.add_template("confirm.html", include_str!("../templates/confirm.html"))?;
        Ok(Self(environment))
    }

    /// The welcome mail for somebody of this name, if it is known.
    ///
    /// # Errors
    /// When a template asks for something it is not given.
    pub(crate) fn welcome(&self, name: Option<&str>) -> Result<Parts, minijinja::Error> {
        self.parts(["welcome.txt", "welcome.html"], &context! { name => name.unwrap_or_default() })
    }

    /// The mail that asks whether somebody wants this newsletter; `url` is of characters that HTML need not escape.
    ///
    /// # Errors
    /// When a template asks for something it is not given.
    pub(crate) fn confirm(&self, newsletter: &str, postal_address: &str, url: &str) -> Result<Parts, minijinja::Error> {
        let url = Value::from_safe_string(url.to_owned());
        self.parts(["confirm.txt", "confirm.html"], &context! { newsletter, postal_address, url })
    }

    fn parts(&self, [text, html]: [&str; 2], values: &Value) -> Result<Parts, minijinja::Error> {
        let part = |template| self.0.get_template(template)?.render(values);
        Ok(Parts { text: part(text)?, html: part(html)? })
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
    fn a_confirmation_names_the_newsletter_and_where_to_go() {
        let parts = Letters::new()
            .unwrap()
            .confirm("Mill & Wheel", "1 Mill Lane", "https://example.com/confirm?token=t-_1")
            .unwrap();
        assert!(parts.html.contains("href=\"https://example.com/confirm?token=t-_1\""));
        assert!(parts.html.contains("Do you want Mill &amp; Wheel?") && parts.html.contains("1 Mill Lane"));
        assert!(parts.text.contains("\n\nhttps://example.com/confirm?token=t-_1\n\n"));
        assert!(parts.text.contains("signed this address up to Mill & Wheel."));
    }

    /// What people agree to is part of their proof of consent. Whoever changes these texts gives `CONSENT_TEXT` a new version,
    /// and then the digest here.
    #[test]
    fn the_text_that_is_agreed_to_has_a_version() {
        let texts = [include_str!("../templates/confirm.txt"), include_str!("../templates/confirm.html")];
        let digest = millrace::domain::id::digest_hex(&texts);
        assert_eq!(
            (millrace::domain::sign_up::CONSENT_TEXT, digest.as_str()),
            ("2026-11-1", "748e550ae0e08ba575fa31f4887c723f")
        );
    }

    #[test]
    fn without_a_name_it_is_still_a_greeting() {
        let parts = Letters::new().unwrap().welcome(None).unwrap();
        assert!(parts.text.starts_with("Hello there,"));
        assert!(parts.html.contains("Hello there, welcome!"));
    }
}
