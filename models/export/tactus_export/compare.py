"""Two bundles of the same checkpoint: do they hold the same golden values, and cost the same?

    python -m tactus_export.compare BUNDLE BUNDLE

Decides: what counts as the same. Ids, indices and bytes: equal; numbers: within 1e-5 of the tensor's largest magnitude,
since another processor adds up in another order. JPEG files may differ where their pixels do not: encoders change. A
reference is not compared: it is not the exporter's.
"""

import sys
import tomllib
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

TOLERANCE = 1e-5


def differences(a: Path, b: Path) -> list[str]:
    """What differs between two bundles, a sentence each."""
    out = []
    one, other = (tomllib.loads((bundle / "bundle.toml").read_text(encoding="utf-8")) for bundle in (a, b))
    for manifest in (one, other):
        del manifest["files"], manifest["source"]
        # Learnt from recordings afterwards, by `tactus bundle reference`.
        manifest.pop("reference", None)
    out += [f"bundle.toml: `{key}` differs" for key in sorted(one | other) if one.get(key) != other.get(key)]
    for case in one["golden"]["cases"]:
        tensors, others = load_file(a / case), load_file(b / case)
        if sorted(tensors) != sorted(others):
            out.append(f"{case}: expected {sorted(tensors)}, got {sorted(others)}")
            continue
        for name, value in tensors.items():
            if name.startswith("jpeg."):
                continue
            second = others[name]
            if value.shape != second.shape or value.dtype != second.dtype:
                out.append(f"{case}: `{name}` has another shape or type")
            elif value.dtype == np.float32:
                scale = max(float(np.abs(value).max()), 1e-30)
                error = float(np.abs(value - second).max()) / scale
                if not error <= TOLERANCE:
                    out.append(f"{case}: `{name}` differs by {error:.1e} of its scale")
            elif not np.array_equal(value, second):
                out.append(f"{case}: `{name}` differs")
    return out


def main() -> int:
    """-> exit code."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    found = differences(Path(sys.argv[1]), Path(sys.argv[2]))
    print("\n".join(found) if found else "the same")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
