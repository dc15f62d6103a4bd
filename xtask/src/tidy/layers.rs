//! Dependencies point one way, `server → {access, centrifuge, runtime → {codec, hub}}`, and the leaves stay
//! pure.

use super::Finding;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Each crate, and the crates of the workspace that it may depend on, also in tests and build
/// scripts.
const LAYERS: [(&str, &[&str]); 12] = [
    ("access", &[]),
    ("codec", &[]),
    ("centrifuge", &[]),
    ("hub", &[]),
    ("runtime", &["codec", "hub"]),
    (
        "server",
        &["access", "centrifuge", "runtime", "codec", "hub"],
    ),
    ("xtask", &[]),
    ("bench", &["codec"]),
    ("bench-codec", &["codec"]),
    ("bench-epoll", &["codec"]),
    ("bench-many-rooms", &["runtime", "codec", "hub"]),
    ("simulation", &["runtime", "codec", "hub"]),
];

/// Packages that must not be built into a crate, directly or indirectly. Tests may use any.
const FORBIDDEN: [(&str, &[&str], &str); 5] = [
    (
        "access",
        &["flume", "monoio", "rustix", "socket2", "tokio"],
        "rights and tokens are decided without I/O",
    ),
    (
        "codec",
        &[
            "async-std",
            "crossbeam-channel",
            "fastrand",
            "flume",
            "futures",
            "futures-core",
            "futures-util",
            "getrandom",
            "mio",
            "monoio",
            "rand",
            "rand_core",
            "rustix",
            "socket2",
            "tokio",
        ],
        "the codec is sans-IO: no async, channels, sockets, randomness",
    ),
    (
        "centrifuge",
        &[
            "async-std",
            "crossbeam-channel",
            "fastrand",
            "flume",
            "futures",
            "futures-core",
            "futures-util",
            "getrandom",
            "mio",
            "monoio",
            "rand",
            "rand_core",
            "rustix",
            "socket2",
            "tokio",
        ],
        "the protocol is sans-IO: no async, channels, sockets, randomness",
    ),
    (
        "hub",
        &[
            "codec",
            "getrandom",
            "mio",
            "monoio",
            "rand",
            "rand_core",
            "rustix",
            "socket2",
            "tokio",
        ],
        "the hub moves opaque bytes: no sockets, spawning, randomness, frames",
    ),
    (
        "runtime",
        &["clap", "toml", "tracing-subscriber"],
        "settings and exporters belong to the server",
    ),
];

/// Features that only `fuzz/` may have on, which is a workspace of its own.
const FUZZING_ALONE: [(&str, &str, &str); 1] = [(
    "access",
    "unverified",
    "a server that reads tokens without their signatures lets anybody be anybody",
)];

/// The dependencies between packages.
pub struct Graph {
    /// Names by package id: a name can occur twice, with two versions.
    names: BTreeMap<String, String>,
    members: Vec<String>,
    /// Dependencies in manifests, from ids to names: of all kinds, but only on crates of the
    /// workspace.
    declared: Edges,
    /// Dependencies that are built into a crate, by id, without those that only tests use.
    built_in: Edges,
    /// Features that a package has, by id.
    features: Edges,
    /// Features that are on, by id: because a crate, a test or a build script of the workspace needs
    /// them.
    enabled: Edges,
}

type Edges = BTreeMap<String, Vec<String>>;

impl Graph {
    /// Reads the resolved output of `cargo metadata`.
    pub fn new(metadata: &Value) -> Result<Self> {
        let mut graph = Self {
            names: BTreeMap::new(),
            members: Vec::new(),
            declared: Edges::new(),
            built_in: Edges::new(),
            features: Edges::new(),
            enabled: Edges::new(),
        };
        for package in array(&metadata["packages"])? {
            let (id, name) = (text(&package["id"])?, text(&package["name"])?);
            for dependency in array(&package["dependencies"])? {
                if !dependency["path"].is_null() {
                    let local = text(&dependency["name"])?;
                    graph.declared.entry(id.clone()).or_default().push(local);
                }
            }
            let features = package["features"].as_object().into_iter().flatten();
            let features = features.map(|(feature, _)| feature.clone()).collect();
            graph.features.insert(id.clone(), features);
            graph.names.insert(id, name);
        }
        for id in array(&metadata["workspace_members"])? {
            graph.members.push(text(id)?);
        }
        for node in array(&metadata["resolve"]["nodes"])? {
            let from = text(&node["id"])?;
            let enabled = array(&node["features"])?.iter().map(text);
            graph
                .enabled
                .insert(from.clone(), enabled.collect::<Result<_>>()?);
            for dependency in array(&node["deps"])? {
                let to = text(&dependency["pkg"])?;
                let kinds = array(&dependency["dep_kinds"])?;
                if kinds.iter().any(|kind| kind["kind"] != "dev") {
                    graph.built_in.entry(from.clone()).or_default().push(to);
                }
            }
        }
        Ok(graph)
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }

    fn member(&self, name: &str) -> Option<&str> {
        let mut ids = self.members.iter().map(String::as_str);
        ids.find(|id| self.name(id) == name)
    }

    /// The chain of names through which a package comes to contain one of `targets`, if there is
    /// one.
    fn chain(&self, from: &str, targets: &[&str]) -> Option<String> {
        let mut seen = HashSet::new();
        let mut pending = vec![(from, self.name(from).to_owned())];
        while let Some((id, chain)) = pending.pop() {
            for next in self.built_in.get(id).into_iter().flatten() {
                let longer = format!("{chain} → {}", self.name(next));
                if targets.contains(&self.name(next)) {
                    return Some(longer);
                }
                if seen.insert(next) {
                    pending.push((next, longer));
                }
            }
        }
        None
    }
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str().map(str::to_owned);
    text.context("cargo metadata has another form than expected")
}

fn array(value: &Value) -> Result<&Vec<Value>> {
    let array = value.as_array();
    array.context("cargo metadata has another form than expected")
}

/// Checks that no crate of the workspace depends on one that is not below it.
pub fn direction(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &graph.members {
        let name = graph.name(member);
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            let message = "has no place in the layers: name what it may depend on in xtask/src/tidy/layers.rs";
            findings.push(Finding::of(name, message));
            continue;
        };
        for target in graph.declared.get(member).into_iter().flatten() {
            if !allowed.contains(&target.as_str()) {
                findings.push(Finding::of(name, format!("must not depend on {target}")));
            }
        }
    }
    findings
}

/// Checks that no forbidden package is built into a crate.
pub fn forbidden(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, targets, reason) in FORBIDDEN {
        let Some(member) = graph.member(name) else {
            findings.push(Finding::of(
                name,
                "is not in the workspace; xtask/src/tidy/layers.rs has rules for it",
            ));
            continue;
        };
        if let Some(chain) = graph.chain(member, targets) {
            findings.push(Finding::of(name, format!("{chain} ({reason})")));
        }
    }
    findings
}

/// Checks that no crate of the workspace turns on what only fuzzing may have.
pub fn fuzzing_alone(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, feature, reason) in FUZZING_ALONE {
        let has = |of: &Edges| {
            let features = graph.member(name).and_then(|id| of.get(id));
            features.is_some_and(|features| features.iter().any(|it| it == feature))
        };
        let message = match (has(&graph.features), has(&graph.enabled)) {
            (false, _) => {
                format!("has no feature {feature}; xtask/src/tidy/layers.rs has a rule for it")
            }
            (true, true) => format!("is built with {feature} in the workspace ({reason})"),
            (true, false) => continue,
        };
        findings.push(Finding::of(name, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A workspace of the real members with these edges, written `from kind to`.
    fn graph(edges: &[&str]) -> Graph {
        let edges: Vec<Vec<&str>> = edges.iter().map(|edge| edge.split(' ').collect()).collect();
        let members = [
            "access",
            "centrifuge",
            "codec",
            "hub",
            "runtime",
            "server",
            "xtask",
        ];
        let outside = [
            "flume@0.11",
            "flume",
            "futures-core",
            "proptest",
            "getrandom",
            "clap",
            "sha1",
        ];
        let all = || members.iter().chain(&outside);
        let kind = |kind: &str| {
            if kind == "normal" {
                Value::Null
            } else {
                json!(kind)
            }
        };
        // The result of `form` for each edge that starts at a name.
        let list = |name: &str, form: &dyn Fn(&[&str]) -> Value| -> Value {
            let own = edges.iter().filter(|edge| edge[0] == name);
            own.map(|edge| form(edge)).collect()
        };
        let node = |name: &&str| {
            let dep = |edge: &[&str]| json!({ "pkg": format!("id:{}", edge[2]), "dep_kinds": [{ "kind": kind(edge[1]) }] });
            json!({ "id": format!("id:{name}"), "deps": list(name, &dep), "features": [] })
        };
        let package = |name: &&str| {
            let path = |to: &str| members.contains(&to).then_some("/here");
            let dep = |edge: &[&str]| json!({ "name": edge[2], "path": path(edge[2]) });
            let plain = name.split('@').next();
            json!({ "id": format!("id:{name}"), "name": plain, "dependencies": list(name, &dep) })
        };
        let metadata = json!({
            "packages": all().map(package).collect::<Vec<_>>(),
            "workspace_members": members.map(|name| format!("id:{name}")),
            "resolve": { "nodes": all().map(node).collect::<Vec<_>>() },
        });
        Graph::new(&metadata).unwrap()
    }

    fn messages(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn direction_of_layers_is_clean() {
        let good = [
            "server normal runtime",
            "server normal hub",
            "server normal access",
            "server normal centrifuge",
            "runtime normal codec",
            "runtime normal hub",
        ];
        assert!(direction(&graph(&good)).is_empty());
    }

    #[test]
    fn direction_upwards_or_sideways_is_found() {
        for (edge, message) in [
            ("access normal hub", "access: must not depend on hub"),
            ("codec normal runtime", "codec: must not depend on runtime"),
            ("hub normal codec", "hub: must not depend on codec"),
            (
                "centrifuge normal hub",
                "centrifuge: must not depend on hub",
            ),
            ("runtime dev server", "runtime: must not depend on server"),
            ("codec build xtask", "codec: must not depend on xtask"),
            ("xtask normal server", "xtask: must not depend on server"),
        ] {
            assert_eq!(messages(&direction(&graph(&[edge]))), [message]);
        }
    }

    #[test]
    fn direction_crate_without_a_layer_is_found() {
        let mut graph = graph(&[]);
        graph.members.push("broker".to_owned());
        assert!(messages(&direction(&graph))[0].starts_with("broker: has no place"));
    }

    #[test]
    fn forbidden_direct_and_through_another_is_found() {
        let direct = messages(&forbidden(&graph(&["codec normal flume"])));
        assert!(direct[0].starts_with("codec: codec → flume"), "{direct:?}");
        let through = messages(&forbidden(&graph(&[
            "hub normal sha1",
            "sha1 normal getrandom",
        ])));
        assert!(
            through[0].starts_with("hub: hub → sha1 → getrandom"),
            "{through:?}"
        );
        let protocol = messages(&forbidden(&graph(&["centrifuge normal getrandom"])));
        assert!(
            protocol[0].starts_with("centrifuge: centrifuge → getrandom"),
            "{protocol:?}"
        );
        let settings = messages(&forbidden(&graph(&["runtime normal clap"])));
        assert!(
            settings[0].starts_with("runtime: runtime → clap"),
            "{settings:?}"
        );
    }

    #[test]
    fn fuzzing_alone_feature_that_is_on_or_unknown_is_found() {
        let access = || vec!["default".to_owned(), "unverified".to_owned()];
        let mut graph = graph(&[]);
        let renamed = messages(&fuzzing_alone(&graph));
        assert!(
            renamed[0].starts_with("access: has no feature unverified"),
            "{renamed:?}"
        );
        graph.features.insert("id:access".to_owned(), access());
        assert!(fuzzing_alone(&graph).is_empty());
        graph.enabled.insert("id:access".to_owned(), access());
        let on = messages(&fuzzing_alone(&graph));
        assert!(
            on[0].starts_with("access: is built with unverified"),
            "{on:?}"
        );
    }

    #[test]
    fn forbidden_of_tests_and_of_other_crates_is_clean() {
        let good = [
            "codec dev proptest",
            "proptest normal getrandom",
            "hub normal flume",
            "flume@0.11 normal getrandom",
            "server normal clap",
        ];
        assert!(forbidden(&graph(&good)).is_empty());
    }
}
