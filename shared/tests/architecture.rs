//! The rules of the house, as tests: who may import whom, and what must not change unnoticed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file below a folder, with its text. Test files are left out: they may name what they test with.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "simulation" {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "simulation.rs" {
                let text = fs::read_to_string(&path).unwrap();
                let own = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
                found.push((path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), own));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no source");
    found
}

/// The lines of a file that are code and name one of these.
fn naming<'a>(text: &'a str, names: &[&str]) -> Vec<&'a str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.filter(|line| names.iter().any(|name| line.contains(name))).collect()
}

fn must_not_name(folder: &str, names: &[&str], except: &[&str]) {
    for (path, text) in sources(folder) {
        if except.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        let lines = naming(&text, names);
        assert!(lines.is_empty(), "{path} must not name {names:?}, but says: {lines:#?}");
    }
}

#[test]
fn the_domain_knows_nothing_of_the_world() {
    let world = ["crate::ports", "crate::aws", "crate::worker", "crate::job::", "crate::jobs", "crate::env", "tokio"];
    must_not_name("shared/src/domain", &world, &[]);
    must_not_name("shared/src/domain", &["aws_", "lambda_", "Timestamp::now", "SystemTime", "getrandom"], &[]);
}

#[test]
fn ports_and_jobs_know_the_domain_and_not_who_serves_them() {
    must_not_name("shared/src/ports", &["crate::aws", "crate::worker", "aws_sdk", "aws_lambda", "crate::testing"], &[]);
    must_not_name("shared/src/jobs", &["crate::aws", "crate::worker", "aws_sdk", "aws_lambda"], &[]);
}

#[test]
fn only_the_adapters_name_the_sdk() {
    // Telemetry only names the log targets that it silences.
    let adapters = ["shared/src/aws", "shared/src/telemetry.rs"];
    must_not_name("shared/src", &["aws_sdk_", "aws_config", "aws_smithy"], &adapters);
    must_not_name("functions", &["aws_sdk_", "aws_config", "aws_smithy"], &[]);
}

#[test]
fn only_env_reads_the_environment() {
    must_not_name("shared/src", &["std::env", "env::var("], &["shared/src/env.rs"]);
    must_not_name("functions", &["std::env", "env::var("], &[]);
}

#[test]
fn handlers_name_no_adapter() {
    for (path, text) in sources("functions") {
        if path.ends_with("handler.rs") {
            let lines = naming(&text, &["millrace::aws", "millrace::env", "lambda_runtime"]);
            assert!(lines.is_empty(), "{path}: {lines:#?}");
        }
    }
}

fn functions() -> Vec<String> {
    let entries = fs::read_dir(root().join("functions")).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Workers render plain templates. What makes them of MJML and Markdown is heavy, and reads what strangers may have written.
#[test]
fn only_the_api_makes_letters_of_what_authors_write() {
    let makers = ["mrml", "css-inline", "pulldown-cmark", "html2text", "html5ever"];
    let folders = functions().into_iter().map(|name| format!("functions/{name}"));
    for folder in folders.chain(["shared", "cli"].map(str::to_owned)).filter(|folder| folder != "functions/api") {
        let manifest = fs::read_to_string(root().join(&folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let linked = manifest["dependencies"].as_table().unwrap().keys().find(|name| makers.contains(&name.as_str()));
        assert_eq!(linked, None, "{folder}");
    }
}

#[test]
fn functions_never_import_each_other() {
    let names = functions();
    for name in &names {
        let manifest = fs::read_to_string(root().join("functions").join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(name.as_str()), "a function is called as its folder");
        for section in ["dependencies", "dev-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            let other = dependencies.keys().find(|dependency| names.contains(dependency));
            assert_eq!(other, None, "{name} imports another function");
        }
    }
}

#[test]
fn every_function_has_a_sample_event_and_every_event_a_function() {
    let events: Vec<String> =
        fs::read_dir(root().join("events")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let (events, functions): (Vec<_>, _) =
        (events.iter().filter(|file| file.ends_with(".json")).collect(), functions());
    let of = |file: &str| file.split('.').next().unwrap_or_default().to_owned();
    for name in &functions {
        assert!(events.iter().any(|file| of(file) == *name), "events/{name}.json is missing");
    }
    for file in events {
        assert!(functions.contains(&of(file)), "events/{file} is of no function");
    }
}

fn workspace() -> toml::Table {
    fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap()
}

#[test]
fn a_panic_unwinds_in_what_is_deployed() {
    let profile = &workspace()["profile"]["release"];
    assert_eq!(profile["panic"].as_str(), Some("unwind"), "cargo-lambda sets abort when the profile does not name it");
    assert_eq!(profile["lto"].as_str(), Some("fat"));
}

#[test]
fn the_sdk_comes_without_its_default_features() {
    let workspace = workspace();
    let dependencies = workspace["workspace"]["dependencies"].as_table().unwrap();
    let sdk: Vec<_> = dependencies.iter().filter(|(name, _)| name.starts_with("aws-")).collect();
    assert!(sdk.len() >= 6);
    for (name, dependency) in sdk {
        assert_eq!(dependency.get("default-features").and_then(toml::Value::as_bool), Some(false), "{name}");
    }
}

#[test]
fn versions_and_lints_are_the_workspaces() {
    for folder in ["shared", "cli", "tests", "tests/mailbox", "bench/cold", "bench/letters"]
        .map(str::to_owned)
        .into_iter()
        .chain(functions().into_iter().map(|name| format!("functions/{name}")))
    {
        let manifest: toml::Table =
            fs::read_to_string(root().join(&folder).join("Cargo.toml")).unwrap().parse().unwrap();
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{folder}");
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for (name, dependency) in dependencies {
            assert_eq!(dependency.get("workspace").and_then(toml::Value::as_bool), Some(true), "{folder}: {name}");
        }
    }
}
