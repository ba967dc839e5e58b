"""Golden cases: for some images, states and instructions, the value at every boundary of the path.

Decides: what a case holds and with which seeds it is made; of a decoder, the first case only. Does not decide: the values
up to the features (`reference.py`), of the head (`reference_head.py`), of the decoder (`reference_decoder.py`). The runtime must reproduce each boundary from its own golden
input.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from tqdm import tqdm

from tactus_export import actions, images, prompt
from tactus_export.cell import Camera
from tactus_export.error import ExportError
from tactus_export.reference import Reference
from tactus_export.reference_decoder import ReferenceDecoder
from tactus_export.reference_head import ReferenceHead
from tactus_export.stats import Stats

INSTRUCTIONS = ("Pick up the red cube.", "please raise the GREEN block!")
# Committed actions of the cases, as far as the policy was trained with any.
COMMITTED = (0, 3)
# Within what the paper clips it to (5).
GUIDANCE = 2.5


@dataclass
class Maker:
    """Makes cases for one policy."""

    reference: Reference
    head: ReferenceHead
    policy: object
    cameras: tuple[Camera, ...]
    stats: Stats
    template: str
    folder: Path | None
    guided: bool
    decoder: ReferenceDecoder | None = None

    def write(self, out: Path) -> list[str]:
        """Writes all cases. -> file names."""
        instructions = self.policy["golden.instructions"] or INSTRUCTIONS
        names = []
        for i, instruction in enumerate(tqdm(instructions, desc="golden", unit="case")):
            committed = min(COMMITTED[i % len(COMMITTED)], self.policy["action.max_prefix"])
            tensors = self.case(i, instruction, committed)
            for name, value in tensors.items():
                if value.dtype == np.float32 and not np.isfinite(value).all():
                    raise ExportError(
                        f"golden case {i}", "finite numbers from the reference", "NaN or infinity", key=name
                    )
            names.append(f"case-{i}.safetensors")
            save_file(tensors, out / names[-1], {"instruction": instruction})
            (out / names[-1]).chmod(0o644)
        return names

    def case(self, number: int, instruction: str, committed: int) -> dict[str, np.ndarray]:
        """All boundaries of one case, by their names in the bundle."""
        rng = np.random.default_rng(number)
        out: dict[str, np.ndarray] = {}
        pictures = []
        for camera in self.cameras:
            jpeg = images.from_folder(self.folder, camera, number) if self.folder else images.drawn(camera, rng)
            rgb = images.decode(jpeg)
            pictures.append(rgb)
            out[f"jpeg.{camera.name}"] = np.frombuffer(jpeg, np.uint8)
            out[f"rgb.{camera.name}"] = rgb
            out[f"resized.{camera.name}"] = self.reference.processor.resized(rgb)
        words = prompt.clean(instruction, self.policy["prompt.lowercase"], self.policy["prompt.strip_punctuation"])
        image = self.policy["prompt.image"].replace("{pads}", self.policy["prompt.image_token"])
        text = prompt.fill(self.template, image * len(pictures), words)
        boundaries = self.reference.run(pictures, text)
        if self.head.config.text_every:
            rows, features = boundaries["image_rows"], boundaries["features"]
            others = [i for i in range(features.shape[1]) if i not in set(rows.tolist())]
            boundaries["features"] = torch.cat((features[:, rows], features[:, others]), dim=1)
        boundaries |= self._head(boundaries["features"], rng, committed, out)
        if self.decoder is not None and number == 0:
            boundaries |= self.decoder.run(pictures, text, self.policy["golden.decoder_steps"])
        out |= {name: value.detach().numpy() for name, value in boundaries.items()}
        return {name: np.ascontiguousarray(value) for name, value in out.items()}

    def _head(self, features: torch.Tensor, rng, committed: int, out: dict) -> dict[str, torch.Tensor]:
        """The head's boundaries, from the features to the last denoised chunk; puts the raw state and the
        actions into `out`."""
        c, state_stats = self.head.config, self.stats.state
        normal = lambda *shape: torch.from_numpy(rng.standard_normal(shape, np.float32))
        raw = state_stats.restore(rng.uniform(-0.8, 0.8, c.state_columns)).astype(np.float32)
        state = torch.from_numpy(state_stats.normalise(raw).astype(np.float32))[None]
        columns = len(self.policy.action.names())
        chunk = (1, c.horizon, c.max_action)
        noise, wanted = normal(*chunk), torch.zeros(chunk)
        # What is committed lies in the declared columns; the padding of a prefix is zero.
        wanted[..., :columns] = torch.from_numpy(rng.uniform(-1, 1, (1, c.horizon, columns)).astype(np.float32))
        mask = (torch.arange(c.horizon)[None] < committed).float()
        prefix = wanted * mask[..., None]
        tensors = {"state": state, "noise": noise, "prefix": prefix, "prefix_mask": mask}
        with torch.no_grad():
            tensors |= dict(zip(self.head.context_names(), self.head.context(features, state)))
            x, dt = noise, torch.tensor([1.0 / c.steps])
            for k in range(c.steps):
                time = torch.full(chunk[:2], k / c.steps)
                x = self.head.step(x, time, dt, prefix, mask, features, state)
                tensors[f"x.{k + 1}"] = x
        if self.guided:
            tensors |= self._guided(tensors, wanted, features, state)
        out["state_raw"] = raw
        out["actions"] = actions.meant(x[0].numpy(), raw, self.policy, self.stats)
        return tensors

    def _guided(self, tensors: dict, wanted: torch.Tensor, features, state) -> dict[str, torch.Tensor]:
        """One guided step in the middle of the chunk's denoising: two actions committed, the next ones drawn."""
        c = self.head.config
        k = c.steps // 2
        x = tensors[f"x.{k}"] if k else tensors["noise"]
        rows = torch.arange(c.horizon)[None].float()
        mask = (rows < min(2, c.horizon - 1)).float()
        weight = (1.0 - rows / max(1, c.horizon - 2)).clamp(min=0.0)
        own = {
            "x": x, "time": torch.full((1, c.horizon), k / c.steps), "prefix": wanted * mask[..., None],
            "prefix_mask": mask, "target": wanted, "weight": weight, "guidance": torch.tensor([GUIDANCE]),
        }  # fmt: skip
        dt = torch.tensor([1.0 / c.steps])
        own["x_next"] = self.head.guided_step(
            own["x"], own["time"], dt, own["prefix"], mask, features, state, wanted, weight, own["guidance"]
        )
        return {f"vjp.{name}": value for name, value in own.items()}
