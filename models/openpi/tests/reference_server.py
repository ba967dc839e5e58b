"""A server as openpi's own: `websockets`, `openpi_client.msgpack_numpy`, one metadata message, then an answer to each
observation, with `server_timing`; what goes wrong is sent as a traceback, and the connection closed.

    python reference_server.py HORIZON COLUMNS

It prints its port. Its policy asks for what is in `SHAPES`, and moves the first column by 0.02 a row from where it is; with the
prompt `nan` an action is not a number, with `short` a row is missing, with `slow` the answer takes a second, with `fail` it
fails.
"""

import asyncio
import sys
import time
import traceback

import numpy as np
import websockets.asyncio.server
from openpi_client import msgpack_numpy

SHAPES = {
    "observation/image/scene": (np.uint8, (224, 224, 3)),
    "observation/image/wrist": (np.uint8, (224, 224, 3)),
    "observation/state": (np.float64, (7,)),
}


def infer(horizon: int, columns: int, observation: dict) -> dict:
    for key, (dtype, shape) in SHAPES.items():
        array = observation[key]
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{key}: expected {dtype} {shape}, got {array.dtype} {array.shape}")
    prompt = observation["prompt"]
    actions = np.tile(observation["observation/state"][:columns], (horizon, 1))
    actions[:, 0] += 0.02 * np.arange(1, horizon + 1)
    if prompt == "nan":
        actions[horizon // 2, 0] = np.nan
    elif prompt == "short":
        actions = actions[:-1]
    elif prompt == "slow":
        time.sleep(1.0)
    elif prompt == "fail":
        raise RuntimeError("as asked")
    return {"actions": actions.astype(np.float32)}


async def main(horizon: int, columns: int) -> None:
    async def handler(websocket) -> None:
        packer = msgpack_numpy.Packer()
        await websocket.send(packer.pack({"robot": "any", "reset_pose": [0.0, 1.0]}))
        previous = None
        while True:
            try:
                start = time.monotonic()
                observation = msgpack_numpy.unpackb(await websocket.recv())
                inferring = time.monotonic()
                action = infer(horizon, columns, observation)
                action["server_timing"] = {"infer_ms": (time.monotonic() - inferring) * 1000}
                if previous is not None:
                    action["server_timing"]["prev_total_ms"] = previous * 1000
                await websocket.send(packer.pack(action))
                previous = time.monotonic() - start
            except websockets.ConnectionClosed:
                return
            except Exception:
                await websocket.send(traceback.format_exc())
                await websocket.close(code=1011, reason="Internal server error. Traceback included in previous frame.")
                return

    async with websockets.asyncio.server.serve(
        handler, "127.0.0.1", 0, compression=None, max_size=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
