"""Whole exports: graphs in ONNX Runtime, precisions, the weights file, the demo checkpoint, the committed bundles."""

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import FAMILIES, REPOSITORY, arguments, request
from PIL import Image
from safetensors.numpy import load_file

from tactus_export import bundle, cli, compare, images, prompt, tiny, verify
from tactus_export.cell import Camera
from tactus_export.reference import Reference

BUNDLES = Path(__file__).parent / "bundles"


@pytest.fixture(scope="module")
def qwen25(checkpoints, tmp_path_factory):
    """A complete export on the command line, in single precision."""
    out = tmp_path_factory.mktemp("export") / "bundle"
    assert cli.main(arguments(checkpoints["qwen2_5_vl"], "--out", str(out))) == 0
    return out


def hashes(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "bundle.toml"]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_files_and_manifest(qwen25):
    manifest = tomllib.loads((qwen25 / "bundle.toml").read_text())
    assert manifest["files"] == hashes(qwen25)
    assert list(manifest["graphs"]) == ["vision", "backbone", "context", "denoise", "denoise_vjp", "decoder"]
    assert manifest["action"]["width"] == 32 and len(manifest["action"]["joints"]) == 6
    assert not list(qwen25.parent.glob(".bundle*"))


def test_an_export_is_repeatable(qwen25):
    """The committed bundle is what the exporter makes now (but for weights.bin nothing depends on the machine)."""
    folders = (qwen25, BUNDLES / "qwen2_5_vl")
    ours, committed = (tomllib.loads((folder / "bundle.toml").read_text()) for folder in folders)
    assert ours["source"]["revision"] == committed["source"]["revision"]
    for name in ("graphs/weights.bin", "stats.json", "tokenizer.json"):
        assert ours["files"][name] == committed["files"][name], name


@pytest.mark.parametrize("family", (*FAMILIES, "qwen3_vl_n1_7"))
def test_committed_bundles(family):
    """Their golden cases against their graphs, and their size."""
    folder = BUNDLES / family
    manifest = tomllib.loads((folder / "bundle.toml").read_text())
    assert manifest["files"] == hashes(folder)
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 3_000_000
    for name in manifest["graphs"]:
        run = verify.session(folder / f"graphs/{name}.onnx")
        for case in manifest["golden"]["cases"]:
            g = load_file(folder / case)
            for row in (verify.row(case, *pair, 1e-5) for pair in verify.boundaries(run, name, g, 4)):
                assert row.ok, row


def test_one_graph_serves_any_images(qwen25, checkpoints):
    """Numbers and sizes of images that the export never saw."""
    job = bundle.prepare(request(checkpoints["qwen2_5_vl"], out=qwen25.parent / "other"))
    reference = Reference(job.checkpoint, job.processor, job.tokenizer, job.policy, job.layers)
    vision, backbone = (verify.session(qwen25 / f"graphs/{name}.onnx") for name in ("vision", "backbone"))
    for sizes in ([(848, 480)], [(210, 126), (70, 42), (126, 126)], [(56, 28)]):
        rng = np.random.default_rng(1)
        pictures = [images.decode(images.drawn(Camera("c", *size), rng)) for size in sizes]
        text = prompt.fill(job.template, "<|vision_start|><|image_pad|><|vision_end|>" * len(sizes), "lift it")
        g = {name: value.numpy() for name, value in reference.run(pictures, text).items()}
        for run, name in ((vision, "vision"), (backbone, "backbone")):
            for row in (verify.row(name, *pair, 1e-5) for pair in verify.boundaries(run, name, g, 4)):
                assert row.ok, row


def test_weights_are_matrices_as_matmul_reads_them(qwen25):
    """No transposition of a weight at load or run time, but where a gradient needs the other order; each weight once in
    the file."""
    places = set()
    for path in qwen25.glob("graphs/*.onnx"):
        graph = onnx.load(path, load_external_data=False).graph
        external = {i.name: i for i in graph.initializer if i.external_data}
        assert external
        for node in graph.node:
            assert path.stem == "denoise_vjp" or node.op_type != "Transpose" or node.input[0] not in external
        for initializer in external.values():
            entry = {e.key: e.value for e in initializer.external_data}
            places.add((int(entry["offset"]), int(entry["length"])))
    end = 0
    for offset, length in sorted(places):
        # A parameter that is small enough to be folded into a graph leaves its place unused.
        assert 0 <= offset - end < 1024, "places overlap, or the file has holes"
        end = offset + length
    assert end == (qwen25 / "graphs/weights.bin").stat().st_size


def test_half_precision_with_given_images(checkpoints, tmp_path, capsys):
    out, folder = tmp_path / "half", tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(5)
    (folder / "1-scene.jpg").write_bytes(images.drawn(Camera("scene", 144, 80), rng))
    for name, size in (("scene", (80, 144)), ("wrist", (16, 80))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    given = ("--precision", "fp16", "--no-vjp", "--images", str(folder))
    assert cli.main(arguments(checkpoints["qwen3_vl"], "--out", str(out), *given)) == 0
    cases = [load_file(out / f"golden/case-{i}.safetensors") for i in range(2)]
    assert cases[1]["jpeg.scene"].tobytes() == (folder / "1-scene.jpg").read_bytes()
    assert np.array_equal(cases[0]["jpeg.wrist"], cases[1]["jpeg.wrist"])
    assert "boundaries agree" in capsys.readouterr().out
    manifest = tomllib.loads((out / "bundle.toml").read_text())
    assert {graph["precision"] for graph in manifest["graphs"].values()} == {"fp16"}
    for path in out.glob("graphs/*.onnx"):
        graph = onnx.load(path, load_external_data=False).graph
        edges = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        cache = {name: edges.pop(name) for name in list(edges) if name.startswith(("past.", "present."))}
        assert set(edges.values()) <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
        # What stays in memory between tokens is as precise as the graph.
        assert set(cache.values()) == ({onnx.TensorProto.FLOAT16} if path.stem == "decoder" else set())
        assert {i.data_type for i in graph.initializer if i.external_data} == {onnx.TensorProto.FLOAT16}
        # On a device a sum and its norm are one kernel; in the bundles of single precision they are ONNX's (test_decoder.py).
        fused = {node.op_type for node in graph.node if node.domain == "com.microsoft"}
        norm = "SkipSimplifiedLayerNormalization" if path.stem in ("backbone", "decoder") else "SkipLayerNormalization"
        # This head's context has no block of its own.
        assert path.stem == "context" or norm in fused, (path.stem, fused)


def test_brain_float_is_not_run(checkpoints, tmp_path, capsys):
    out = tmp_path / "brain"
    given = "fp32,denoise=bf16"
    assert cli.main(arguments(checkpoints["qwen3_vl"], "--out", str(out), "--precision", given, "--no-vjp")) == 0
    assert "not run: denoise (bf16" in capsys.readouterr().out
    graph = onnx.load(out / "graphs/denoise.onnx", load_external_data=False).graph
    assert {i.data_type for i in graph.initializer if i.external_data} == {onnx.TensorProto.BFLOAT16}


def test_a_graph_that_differs_is_refused(checkpoints, tmp_path, monkeypatch, capsys):
    """Weights written wrongly: the verification finds it, and no bundle appears."""
    from tactus_export import data_file

    convert = data_file._convert
    monkeypatch.setattr(data_file, "_convert", lambda source, block, dtype: convert(source, block, dtype) * 1.001)
    out = tmp_path / "wrong"
    assert cli.main(arguments(checkpoints["qwen3_vl"], "--out", str(out), "--no-vjp")) == 1
    assert "tactus-export: verification: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_demo_checkpoint(tmp_path):
    """models/demo/bundle is what this exporter makes of models/demo/checkpoint."""
    demo = REPOSITORY / "models/demo"
    asked = bundle.Request(
        mllm=demo / "checkpoint", head=demo / "checkpoint/action_head.safetensors",
        stats=demo / "checkpoint/stats.json", cell=REPOSITORY / "launch/cells/demo.toml", policy=demo / "policy.toml",
        out=tmp_path / "demo", precision={}, images=demo / "golden",
    )  # fmt: skip
    bundle.export(asked)
    assert compare.differences(demo / "bundle", tmp_path / "demo") == []


MEASURE = """
import sys
from pathlib import Path
from tactus_export import bundle
sys.path.insert(0, sys.argv[1])
from conftest import request
bundle.verify.verify = lambda *_: []
for folder in sys.argv[2:]:
    bundle.export(request(Path(folder), vjp=False, out=Path(folder) / "measured"))
    # Not getrusage: its maximum is inherited from the process that started this one.
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_stays_far_below_the_model(checkpoints, tmp_path):
    """A larger model in half precision, exported in single: the process grows by less than a quarter of what it writes.
    The verification is left out: ONNX Runtime holds the graph that it runs."""
    options = tiny.Options(
        hidden=1536, intermediate=6144, layers=4, vocabulary=6000, vl_layers=0, dtype=torch.float16, shard="60MB",
        policy={"backbone.layers": 4, "golden.instructions": ["lift it"]},
    )  # fmt: skip
    large = tiny.make("qwen2_5_vl", tmp_path / "large", options)
    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(checkpoints["qwen2_5_vl"]), str(large)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    # What is freed goes back at once: the measure is what the exporter holds, not what malloc keeps for later.
    environment |= {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_ARENA_MAX": "1"}
    out = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert out.returncode == 0, out.stderr
    before, after = (int(line.split()[1]) * 1024 for line in out.stdout.splitlines() if line.startswith("VmHWM"))
    written = (large / "measured/graphs/weights.bin").stat().st_size
    assert written > 400_000_000
    print(f"grew by {(after - before) / 1e6:.0f} MB, wrote {written / 1e6:.0f} MB")
    assert after - before < written / 4
