"""The command line.

Decides: options, exit codes (0 done, 1 the export failed, 2 wrong usage, 130 interrupted), and that every error is one
sentence on stderr. Does not decide: anything about the export.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from tactus_export.error import ExportError

PRECISIONS = ("fp32", "fp16", "bf16")


def precision(text: str) -> dict[str, str]:
    """`fp16`, or `vision=fp32,backbone=bf16`. -> precision by graph, `*` for all others."""
    out: dict[str, str] = {}
    for part in text.split(","):
        graph, _, word = part.rpartition("=")
        graph = graph.strip() or "*"
        if word.strip() not in PRECISIONS or graph in out:
            raise argparse.ArgumentTypeError(
                f"expected PRECISION or GRAPH=PRECISION,.. with {', '.join(PRECISIONS)}, got `{text}`"
            )
        out[graph] = word.strip()
    return out


def parser() -> argparse.ArgumentParser:
    """All options."""
    out = argparse.ArgumentParser(
        prog="tactus-export", description="Exports a vision-language-action policy to a bundle."
    )
    add = out.add_argument
    add("--mllm", type=Path, metavar="DIR", help="Hugging Face folder of the multimodal language model")
    add("--head", type=Path, metavar="FILE", help="safetensors file of the action head")
    add("--lerobot", type=Path, metavar="DIR", help="instead of both: LeRobot's folder of a pi0, pi0.5 or SmolVLA policy")
    add("--vlm", type=Path, metavar="DIR", help="folder of the model it was made of: tokenizer.json, config.json")
    add("--stats", type=Path, required=True, metavar="FILE", help="normalisation statistics (JSON)")
    add("--cell", type=Path, required=True, metavar="FILE", help="cell file (TOML): cameras and joint names")
    add("--out", type=Path, required=True, metavar="BUNDLE", help="folder to make")
    add("--policy", type=Path, metavar="FILE", help="declaration (TOML); default: policy.toml beside the head or in the folder")
    add("--precision", type=precision, default={}, metavar="P", help="fp32 (default), fp16, bf16, or GRAPH=P,..")
    add("--layers", type=int, metavar="L", help="decoder layers to keep; default: the policy's")
    add("--embodiment", type=int, metavar="ID", help="row of the head's embodiment axis; default: the policy's")
    add("--no-vjp", action="store_true", help="leave out denoise_vjp, the guided step of real-time chunking")
    add("--images", type=Path, metavar="FOLDER", help="images for the golden cases; default: drawn ones")
    add("--force", action="store_true", help="replace an existing BUNDLE")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. -> exit code."""
    args = parser().parse_args(arguments)
    pairs = (args.mllm, args.head), (args.lerobot, args.vlm)
    if [all(pair) for pair in pairs] != [any(pair) for pair in pairs] or all(pairs[0]) == all(pairs[1]):
        parser().error("expected --mllm and --head, or --lerobot and --vlm")
    if args.lerobot and (args.layers or args.embodiment is not None):
        parser().error("--layers and --embodiment are of --mllm and --head")
    # Nothing is fetched: a checkpoint is a folder.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    previous = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        shared = {
            "stats": args.stats, "cell": args.cell, "out": args.out, "precision": args.precision,
            "vjp": not args.no_vjp, "images": args.images, "force": args.force,
        }  # fmt: skip
        if args.lerobot:
            from tactus_export import expert_bundle

            rows = expert_bundle.export(expert_bundle.Request(
                lerobot=args.lerobot, vlm=args.vlm, policy=args.policy or args.lerobot / "policy.toml", **shared
            ))  # fmt: skip
        else:
            from tactus_export import bundle

            rows = bundle.export(bundle.Request(
                mllm=args.mllm, head=args.head, policy=args.policy or args.head.with_name("policy.toml"),
                layers=args.layers, embodiment=args.embodiment, **shared,
            ))  # fmt: skip
    except ExportError as error:
        print(f"tactus-export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tactus-export: interrupted; nothing was written", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    print(f"{args.out}: {len(rows)} boundaries agree")
    return 0
