"""Pictures as the vision tower takes them.

Decides: the inputs of the tower for pictures of 112x112. Does not decide: how pictures get that size (prepare.py).
"""

import numpy as np
import torch

from model import normalise, patch_positions, patchify

CAMERAS = ("scene", "wrist")


def vision_inputs(pictures: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """uint8 [112, 112, 3] pictures -> the five inputs of the vision graph."""
    rows, positions, full = [], [], []
    for i, picture in enumerate(pictures):
        x = normalise(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])
        patches = patchify(x)[0].view(-1, 3, 1, 196).expand(-1, -1, 2, -1)
        rows.append(patches.reshape(len(patches), -1))
        positions.append(patch_positions(8, 8, 2))
        full.append(torch.full((64,), i))
    n = 16 * len(pictures)
    # A picture of 112x112 is exactly one window: windows and pictures coincide, and nothing is reordered.
    return {"pixel_values": torch.cat(rows).contiguous(), "pos_ids": torch.cat(positions),
            "window_index": torch.arange(n), "seg_full": torch.cat(full), "seg_window": torch.cat(full)}
