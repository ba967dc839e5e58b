//! What an ONNX file says of itself: who wrote it, which operators it needs, in which files its weights are.
//!
//! Decides which operators are foreign: those of a domain that ONNX Runtime does not come with and the file does not define.
//! Reads those few fields of `onnx.proto3`, and skips the others.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use prost::Message;

use super::WrapError;

/// Domains whose operators ONNX Runtime comes with.
const KNOWN: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];
/// Graphs inside graphs, at most.
const DEPTH: usize = 32;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(string, tag = "2")]
    producer: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphOf>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<FunctionOf>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphOf {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<NodeOf>,
    #[prost(message, repeated, tag = "5")]
    weights: Vec<TensorOf>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeOf {
    #[prost(string, tag = "4")]
    op: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<AttributeOf>,
    #[prost(string, tag = "7")]
    domain: String,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeOf {
    #[prost(message, optional, tag = "5")]
    tensor: Option<TensorOf>,
    #[prost(message, optional, tag = "6")]
    graph: Option<GraphOf>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<GraphOf>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorOf {
    #[prost(int32, tag = "2")]
    element: i32,
    #[prost(message, repeated, tag = "13")]
    external: Vec<EntryOf>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryOf {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct FunctionOf {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "7")]
    nodes: Vec<NodeOf>,
    #[prost(string, tag = "10")]
    domain: String,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Who wrote it, and which version of that.
    pub made_by: String,
    /// Files beside it that hold weights, sorted.
    pub external: Vec<String>,
    /// Whether most weights are of half precision (`fp16`, `bf16`), otherwise `fp32`.
    pub precision: &'static str,
}

impl Scan {
    /// Scans `file`.
    ///
    /// # Errors
    /// [`WrapError`] when it is no ONNX file, has operators that nothing here runs, or weights outside its folder.
    pub fn of(file: &Path) -> Result<Self, WrapError> {
        let bytes = std::fs::read(file).map_err(|source| WrapError::File {
            file: file.into(),
            source,
        })?;
        let format = |expected: &str, actual: String| WrapError::Format {
            file: file.into(),
            expected: expected.into(),
            actual,
        };
        let model = Model::decode(&bytes[..])
            .map_err(|e| format("an ONNX model", format!("something else ({e})")))?;
        let Some(graph) = &model.graph else {
            return Err(format("an ONNX model with a graph", "none".into()));
        };
        let mut found = Found::default();
        found.graph(graph, 0);
        model
            .functions
            .iter()
            .for_each(|f| found.nodes(&f.nodes, 0));
        let own = |(op, domain): &&(String, String)| {
            let defined = |f: &FunctionOf| f.name == *op && f.domain == *domain;
            !KNOWN.contains(&domain.as_str()) && !model.functions.iter().any(defined)
        };
        let foreign: Vec<String> = found
            .operators
            .iter()
            .filter(own)
            .map(|(op, domain)| format!("`{op}` of `{domain}`"))
            .collect();
        if !foreign.is_empty() {
            let expected =
                "operators of ONNX and ONNX Runtime only (export without custom operators)";
            return Err(format(expected, foreign.join(", ")));
        }
        for name in &found.external {
            let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
            if name.is_empty() || !Path::new(name).components().all(inside) {
                let expected = "weights in files of its own folder";
                return Err(format(expected, format!("`{name}`")));
            }
        }
        let precision = match found.elements {
            [single, half, _] if half > single => "fp16",
            [single, _, brain] if brain > single => "bf16",
            _ => "fp32",
        };
        Ok(Self {
            made_by: format!("{} {}", model.producer, model.producer_version)
                .trim()
                .to_owned(),
            external: found.external.into_iter().collect(),
            precision,
        })
    }

    /// The files that hold weights, as paths beside `file`.
    pub fn beside(&self, file: &Path) -> Vec<PathBuf> {
        let folder = file.parent().unwrap_or(Path::new(""));
        self.external.iter().map(|name| folder.join(name)).collect()
    }
}

#[derive(Default)]
struct Found {
    operators: BTreeSet<(String, String)>,
    external: BTreeSet<String>,
    /// Weights of single, half and brain precision.
    elements: [usize; 3],
}

impl Found {
    fn graph(&mut self, graph: &GraphOf, depth: usize) {
        graph.weights.iter().for_each(|tensor| self.tensor(tensor));
        self.nodes(&graph.nodes, depth);
    }

    fn nodes(&mut self, nodes: &[NodeOf], depth: usize) {
        for node in nodes {
            self.operators
                .insert((node.op.clone(), node.domain.clone()));
            for attribute in &node.attributes {
                attribute.tensor.iter().for_each(|t| self.tensor(t));
                let inner = attribute.graph.iter().chain(&attribute.graphs);
                for graph in inner.filter(|_| depth < DEPTH) {
                    self.graph(graph, depth + 1);
                }
            }
        }
    }

    fn tensor(&mut self, tensor: &TensorOf) {
        // TensorProto.DataType: FLOAT, FLOAT16, BFLOAT16.
        let which = [1, 10, 16].iter().position(|e| *e == tensor.element);
        if let Some(count) = which.and_then(|i| self.elements.get_mut(i)) {
            *count += 1;
        }
        let location = tensor.external.iter().find(|e| e.key == "location");
        self.external.extend(location.map(|e| e.value.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(model: &Model) -> Result<Scan, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x.onnx");
        std::fs::write(&file, model.encode_to_vec()).expect("written");
        Scan::of(&file).map_err(|e| e.to_string())
    }

    fn model(domain: &str, location: &str) -> Model {
        let weight = TensorOf {
            element: 10,
            external: vec![EntryOf {
                key: "location".into(),
                value: location.into(),
            }],
        };
        let node = NodeOf {
            op: "Magic".into(),
            domain: domain.into(),
            attributes: vec![],
        };
        Model {
            producer: "test".into(),
            producer_version: "1".into(),
            graph: Some(GraphOf {
                nodes: vec![node],
                weights: vec![weight],
            }),
            functions: vec![],
        }
    }

    #[test]
    fn weights_beside_the_file_are_found_and_outside_refused() {
        let scan = scanned(&model("", "x.onnx.data")).expect("fine");
        assert_eq!(scan.external, ["x.onnx.data"]);
        assert_eq!((scan.precision, &*scan.made_by), ("fp16", "test 1"));
        for outside in ["../x", "/etc/passwd", "", "a/../../x"] {
            let error = scanned(&model("", outside)).expect_err("refused");
            assert!(
                error.contains("weights in files of its own folder"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_foreign_operator_is_named_unless_the_file_defines_it() {
        let mut foreign = model("my.ops", "x.data");
        let error = scanned(&foreign).expect_err("refused");
        assert!(error.contains("`Magic` of `my.ops`"), "{error}");
        foreign.functions.push(FunctionOf {
            name: "Magic".into(),
            nodes: vec![],
            domain: "my.ops".into(),
        });
        assert!(scanned(&foreign).is_ok());
    }

    #[test]
    fn rubbish_is_no_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x.onnx");
        for bytes in [&b"not a model"[..], b"", &[0xff; 40]] {
            std::fs::write(&file, bytes).expect("written");
            let error = Scan::of(&file).expect_err("refused").to_string();
            assert!(error.contains("expected an ONNX model"), "{error}");
        }
    }
}
