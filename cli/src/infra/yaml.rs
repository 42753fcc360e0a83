//! CloudFormation's JSON as the short YAML that people write.

use serde_json::Value;

/// A value on one line: `{"Ref": "X"}` is `!Ref X`. `flow` says that it stands within brackets.
pub(crate) fn value(value: &Value, flow: bool) -> String {
    match value {
        Value::Object(fields) => {
            if let (1, Some((name, inner))) = (fields.len(), fields.iter().next())
                && let Some(tag) = tag(name)
            {
                return format!("!{tag} {}", self::value(inner, flow));
            }
            let fields =
                fields.iter().map(|(name, inner)| format!("{}: {}", text(name, true), self::value(inner, true)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(values) => {
            format!("[{}]", values.iter().map(|inner| self::value(inner, true)).collect::<Vec<_>>().join(", "))
        }
        Value::String(string) => text(string, flow),
        other => other.to_string(),
    }
}

fn tag(name: &str) -> Option<&str> {
    if name == "Ref" { Some(name) } else { name.strip_prefix("Fn::") }
}

/// A text, in quotes where YAML would take it for something else.
fn text(text: &str, flow: bool) -> String {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '$' || c == '/');
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c) || (!flow && "${}".contains(c));
    let plain = first && text.chars().all(inside) && !text.contains(": ") && !text.ends_with(':');
    // A colon within brackets reads as a key's; these words read as truth values.
    let plain = plain && !(flow && text.contains(':') && !text.starts_with("AWS::"));
    let word =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain && !word { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for (json, yaml) in [
            (json!({"Ref": "JobsTable"}), "!Ref JobsTable"),
            (json!({"Fn::Sub": "${Bucket.Arn}/a/*"}), "!Sub '${Bucket.Arn}/a/*'"),
            (json!({"Fn::Sub": "https://${A}.${AWS::Region}"}), "!Sub https://${A}.${AWS::Region}"),
            (json!({"Fn::If": ["A", {"Ref": "B"}, {"Fn::Sub": "${C}"}]}), "!If [A, !Ref B, !Sub '${C}']"),
            (json!({"aws:x": ["TOKEN#KEYS", 1, true, "no"]}), "{'aws:x': ['TOKEN#KEYS', 1, true, 'no']}"),
        ] {
            assert_eq!(value(&json, false), yaml);
        }
        assert_eq!(text("it's", false), "'it''s'");
    }
}
