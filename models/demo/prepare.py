"""Recorded episodes -> arrays the trainer maps into memory, statistics, and both tokenizers.

    python prepare.py RECORDED OUT [--stride 2] [--procs 2] [--scale 10] [--vocabulary 2048]

Writes OUT/rows.f32 [rows, columns], OUT/images.u8 [pictured rows, 2, 112, 112, 3] (JPEG decoded by PIL, reduced by PIL
bicubic, which antialiases: the declared processor of the bundle), OUT/meta.json, OUT/stats.json, OUT/tokenizer/.
Only successful episodes are kept, and of their pictures every stride-th: the next is nearly the same, and the disk holds
more episodes that way. Labels come from all rows. Done blocks are skipped when it is run again.
"""

import argparse
import io
import json
import multiprocessing
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import tokens
from fast import FastTokenizer

SIZE = 112
HORIZON = 16
SCHEMA = 2
BLOCK = 500


def resize(picture: Image.Image) -> Image.Image:
    """The processor's reduction to 112x112."""
    return picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def decode(jpeg: bytes) -> np.ndarray:
    """JPEG -> uint8 [112, 112, 3]."""
    return np.asarray(resize(Image.open(io.BytesIO(jpeg)).convert("RGB")))


def kept_rows(shard: Path) -> tuple[np.ndarray, list[dict]]:
    """Row numbers of the successful episodes of a shard, and those episodes with rows renumbered."""
    rows, episodes = [], []
    for e in json.loads((shard / "episodes.json").read_text()):
        if e["success"] and e["rows"] > 0:
            start = sum(len(r) for r in rows)
            rows.append(np.arange(e["first_row"], e["first_row"] + e["rows"]))
            kept = {key: e[key] for key in ("seed", "task", "target", "rows")}
            episodes.append({**kept, "first_row": start})
    return (np.concatenate(rows) if rows else np.zeros(0, np.int64)), episodes


def prepare_block(job) -> None:
    """Decodes some rows of a shard into their slice of images.u8, which begins at `start`."""
    shard, rows, out, start, total = job
    done = out / f"{start}.done"
    if done.exists():
        return
    images = np.memmap(out / "images.u8", np.uint8, "r+", shape=(total, 2, SIZE, SIZE, 3))
    offsets = np.fromfile(shard / "frames.idx", "<u8")
    frames = np.memmap(shard / "frames.bin", np.uint8, "r")
    for i, row in enumerate(rows):
        for camera in range(2):
            a, b = offsets[2 * row + camera], offsets[2 * row + camera + 1]
            images[start + i, camera] = decode(frames[a:b].tobytes())
    done.touch()


def pictured(episodes: list[dict], stride: int) -> tuple[np.ndarray, list[dict]]:
    """Rows whose pictures are kept, every `stride`-th of an episode; and the episodes with these rows renumbered."""
    kept, out, start = [], [], 0
    for e in episodes:
        kept.append(np.arange(e["first_row"], e["first_row"] + e["rows"], stride))
        out.append({**e, "first_row": start, "rows": len(kept[-1])})
        start += len(kept[-1])
    return np.concatenate(kept), out


def chunk_index(episodes: list[dict]) -> np.ndarray:
    """Row of each action of each row's chunk, [rows, 16]; past the end of an episode its last row repeats."""
    parts = []
    for e in episodes:
        last = e["first_row"] + e["rows"] - 1
        base = np.arange(e["first_row"], last + 1)
        parts.append(np.minimum(base[:, None] + np.arange(HORIZON), last))
    return np.concatenate(parts)


def chunks(rows: np.ndarray, columns: list[str], episodes: list[dict]) -> np.ndarray:
    """Chunk labels [rows, 16, 7]: clean expert joint targets minus the joints at the observation (rad), opening."""
    a, q = columns.index("a0"), columns.index("q0")
    out = rows[:, a : a + 7][chunk_index(episodes)]
    out[:, :, :6] -= rows[:, None, q : q + 6]
    return out


def statistics(rows: np.ndarray, columns: list[str], labels: np.ndarray) -> dict:
    """Mean and standard deviation for state and action; the gripper's action maps 0..1 to -1..1."""
    q = columns.index("q0")
    state, action = rows[:, q : q + 7], labels[:, :, :6].reshape(-1, 6)
    floor = lambda x: np.maximum(x, 1e-3)
    return {
        "state": {"mean": state.mean(0).tolist(), "std": floor(state.std(0)).tolist()},
        "action": {
            "mean": action.mean(0).tolist() + [0.5],
            "std": floor(action.std(0)).tolist() + [0.5],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recorded", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stride", type=int, default=2)
    parser.add_argument("--procs", type=int, default=2)
    parser.add_argument("--scale", type=float, default=10.0, help="of action tokens: smaller is shorter and coarser")
    parser.add_argument("--vocabulary", type=int, default=2048, help="action tokens; at least one per coefficient, 128")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    meta = json.loads((args.recorded / "meta.json").read_text())
    if meta["schema"] != SCHEMA:
        raise SystemExit(f"{args.recorded}: schema: expected {SCHEMA}, found {meta['schema']}; record it again")
    columns = meta["columns"]
    shards = sorted(p for p in args.recorded.glob("shard-*") if (p / "episodes.json").exists())

    jobs, episodes, tables, total, pictures = [], [], [], 0, 0
    for shard in shards:
        rows, own = kept_rows(shard)
        if len(rows) == 0:
            continue
        table = np.fromfile(shard / "rows.bin", "<f4").reshape(-1, len(columns))
        tables.append(table[rows])
        episodes += [{**e, "first_row": e["first_row"] + total} for e in own]
        seen = rows[pictured(own, args.stride)[0]]
        jobs += [(shard, seen[i : i + BLOCK], args.out, pictures + i) for i in range(0, len(seen), BLOCK)]
        total, pictures = total + len(rows), pictures + len(seen)
    table = np.concatenate(tables)
    table.tofile(args.out / "rows.f32")
    expected = pictures * 2 * SIZE * SIZE * 3
    target = args.out / "images.u8"
    if not target.exists() or target.stat().st_size != expected:
        for done in args.out.glob("*.done"):
            done.unlink()
        with open(target, "wb") as f:
            f.truncate(expected)
    with multiprocessing.Pool(args.procs) as pool:
        work = pool.imap_unordered(prepare_block, [(*job, pictures) for job in jobs])
        for _ in tqdm(work, total=len(jobs), desc="decode", unit="block"):
            pass

    labels = chunks(table, columns, episodes)
    stats = statistics(table, columns, labels)
    (args.out / "stats.json").write_text(json.dumps(stats, indent=2) + "\n")
    folder = args.out / "tokenizer"
    tokens.save(tokens.build(), folder)
    if not (folder / "fast_config.json").exists():
        FastTokenizer.train(labels, scale=args.scale, vocabulary=args.vocabulary).save(folder)
    about = {"columns": columns, "rows": total, "stride": args.stride, "episodes": episodes}
    (args.out / "meta.json").write_text(json.dumps(about) + "\n")
    tasks = ", ".join(f"{sum(e['task'] == t for e in episodes)} {t}" for t in meta["tasks"])
    print(f"{len(episodes)} episodes ({tasks}), {total} rows, {pictures} of them with pictures")


if __name__ == "__main__":
    main()
