"""A camera driver in Python, as an example: the JPEG files of a folder, in turn. Replace `frames` with your camera.

    python drivers/python/camera.py --cell lab --name scene --folder pictures --connect tcp/127.0.0.1:7447
    tactus conformance camera tactus/lab/camera/scene --connect tcp/127.0.0.1:7447

What it decides: nothing but the pace.
"""

import argparse
import pathlib
import time

import wire
from wire import camera, image


def frames(folder):
    """Endlessly, the files of `folder` as they are: nothing is decoded or encoded again."""
    files = [path.read_bytes() for path in sorted(pathlib.Path(folder).glob("*.jpg"))]
    if not files:
        raise SystemExit(f"{folder}: no .jpg files")
    while True:
        yield from files


def size(jpeg):
    """Width and height, from the frame header (SOF0 to SOF2) of ITU T.81."""
    at = 2
    while at + 9 < len(jpeg):
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xC2:
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + length
    raise SystemExit("not a JPEG file")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("cell", "name", "connect", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rate", type=float, default=20.0)
    args = parser.parse_args()
    pictures = frames(args.folder)
    width, height = size(next(pictures))
    driver = wire.Driver(args.cell, "camera", args.name, args.connect)
    info = camera.CameraInfo(width=width, height=height, rate_hz=args.rate)
    kept = driver.answer("info", info)
    driver.publish("info", info)
    due = time.monotonic()
    while kept:
        data, captured = next(pictures), wire.now()
        frame = image.CompressedImage(frame_id=args.name, data=data, format="jpeg")
        frame.timestamp.FromNanoseconds(captured)
        driver.publish("image", frame, captured=captured)
        due = max(due + 1.0 / args.rate, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
