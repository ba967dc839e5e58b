"""What transformers computes: the judge of the exported vision tower and language model.

Decides: that every value up to `features` comes from Hugging Face's own classes: processor, token ids, position ids,
window and interpolation indices, vision tower, hidden states. Does not decide: what is compared, or how closely
(`verify.py`).

The model runs in single precision whatever the checkpoint's type, and is never in memory: each of its modules gets its
weights when it is called and loses them afterwards. It has the kept layers only, so that what enters and leaves its
final norm are the features of either kind.
"""

import copy

import numpy as np
import torch

from tactus_export.checkpoint import Checkpoint
from tactus_export.error import ExportError
from tactus_export.images import Processor
from tactus_export.weights import Weights


def load_tokenizer(checkpoint: Checkpoint):
    """The transformers tokenizer, with its chat template."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(checkpoint.folder, "a tokenizer that transformers can load", error) from error


class Reference:
    """transformers' model and processor."""

    def __init__(self, checkpoint: Checkpoint, processor: Processor, tokenizer, policy, layers: int):
        import transformers
        from transformers import AutoConfig, Qwen2_5_VLProcessor, Qwen2VLVideoProcessor, Qwen3VLProcessor

        transformers.logging.set_verbosity_error()
        self.checkpoint, self.policy, self.processor = checkpoint, policy, processor
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
        config.text_config.num_hidden_layers = layers
        if getattr(config.text_config, "layer_types", None):
            config.text_config.layer_types = config.text_config.layer_types[:layers]
        config._attn_implementation = "sdpa"
        kind = {"qwen2_5_vl": transformers.Qwen2_5_VLModel, "qwen3_vl": transformers.Qwen3VLModel}[checkpoint.family]
        with torch.device("meta"):
            self.model = kind(config).eval().requires_grad_(False)
        # Their frequencies are computed, not stored.
        self.model.visual.rotary_pos_emb = type(self.model.visual.rotary_pos_emb)(config.vision_config)
        self.model.language_model.rotary_emb = type(self.model.language_model.rotary_emb)(config.text_config)
        stream(self.model.visual, checkpoint.weights, checkpoint.prefixes["tower"])
        stream(self.model.language_model, checkpoint.weights, checkpoint.prefixes["decoder"])
        tokenizer = copy.deepcopy(tokenizer)
        if policy["backbone.padding"] != "none":
            tokenizer.pad_token, tokenizer.padding_side = policy["prompt.pad_token"], policy["backbone.padding"]
        prompts = {"qwen2_5_vl": Qwen2_5_VLProcessor, "qwen3_vl": Qwen3VLProcessor}[checkpoint.family]
        self.prompts = prompts(processor.build(), tokenizer, Qwen2VLVideoProcessor())

    def run(self, pictures: list[np.ndarray], text: str) -> dict[str, torch.Tensor]:
        """`pictures` [h, w, 3] u8, in prompt order; `text` with one image token per picture -> every boundary up to
        `features` under its name in the bundle; floats in single precision."""
        length = self.policy["backbone.padded_length"]
        more = {"padding": "max_length", "max_length": length} if length else {}
        batch = self.prompts(text=[text], images=self.planes(pictures), return_tensors="pt", **more)
        ids = batch["input_ids"]
        if length and ids.shape[1] != length:
            raise ExportError(
                self.policy.path, f"at least the prompt's {ids.shape[1]} tokens", length, key="backbone.padded_length"
            )
        grid = batch["image_grid_thw"]
        mask = batch["attention_mask"]
        is_image = ids[0] == self.checkpoint.image_token_id
        inner = self.model
        positions, _ = inner.get_rope_index(
            ids, mm_token_type_ids=is_image[None].int(), image_grid_thw=grid, attention_mask=mask
        )
        seen: dict[str, object] = {}

        def keep_visual(_module, _given, out) -> None:
            # The model splits these by image afterwards, in place.
            seen.update(embeds=out.pooler_output, levels=getattr(out, "deepstack_features", None))

        hooks = [
            inner.language_model.norm.register_forward_hook(lambda _, given, out: seen.update(pre=given[0], post=out)),
            inner.visual.register_forward_hook(keep_visual),
        ]
        with torch.no_grad():
            inner(
                input_ids=ids, attention_mask=mask, position_ids=positions, image_grid_thw=grid,
                pixel_values=batch["pixel_values"], mm_token_type_ids=is_image[None].int(), use_cache=False,
            )  # fmt: skip
        for hook in hooks:
            hook.remove()
        out = {
            "pixel_values": self._still(batch["pixel_values"]), **self._indices(grid), "input_ids": ids,
            "image_rows": is_image.nonzero()[:, 0], "position_ids": positions,
            "image_embeds": seen["embeds"].float(), "features": seen[self.policy["backbone.norm"]].float(),
        }  # fmt: skip
        if self.checkpoint.vision.deepstack:
            out["deepstack"] = torch.stack(list(seen["levels"])).float()
        if length:
            out["attention_mask"] = mask
        return out

    def _still(self, rows: torch.Tensor) -> torch.Tensor:
        """[P, colour * frame * y * x], all frames equal -> [P, colour * y * x], single precision."""
        v = self.checkpoint.vision
        frames = rows.float().view(len(rows), 3, v.temporal_patch, -1)
        assert (frames == frames[:, :, :1]).all()
        return frames[:, :, 0].flatten(1).contiguous()

    def planes(self, pictures: list[np.ndarray]) -> list:
        """[h, w, 3] u8 -> what the processor takes."""
        planes = [torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))) for p in pictures]
        return planes if self.processor.kind == "torchvision" else [np.asarray(plane) for plane in planes]

    def _indices(self, grid: torch.Tensor) -> dict[str, torch.Tensor]:
        """Index inputs of the vision graph, from the functions that transformers' own towers call."""
        from transformers import vision_utils

        vision = self.checkpoint.vision
        positions = vision_utils.get_vision_position_ids(grid, vision.merge)
        ends = vision_utils.get_vision_cu_seqlens(grid)
        out = {"pos_ids": positions, "seg_full": _segments(ends)}
        if vision.windows:
            index, window_ends = vision_utils.get_vision_window_index(grid, vision.merge, vision.window, vision.patch)
            return out | {"window_index": index, "seg_window": _segments(window_ends)}
        index, weight = vision_utils.get_vision_interpolation_indices_and_weights(
            grid, vision.position_table, mode="bilinear", align_corners=True, spatial_merge_size=vision.merge
        )
        return out | {"interp_index": index, "interp_weight": weight.float()}


def stream(model: torch.nn.Module, weights: Weights, prefix: str) -> None:
    """Gives every module of `model`, which is on the meta device, its weights for as long as it runs."""

    def fetch(module: torch.nn.Module, names: dict[str, str]) -> None:
        for name, key in names.items():
            empty = module._parameters[name]
            value = weights.get(key).float()
            if value.shape != empty.shape:
                raise ExportError(weights.entry(key).file, f"shape {list(empty.shape)}", list(value.shape), key=key)
            module._parameters[name] = torch.nn.Parameter(value, requires_grad=False)

    def drop(module: torch.nn.Module) -> None:
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(value.to("meta"), requires_grad=False)

    for path, module in model.named_modules():
        names = {name: f"{prefix}.{path}.{name}" for name, _ in module.named_parameters(recurse=False)}
        if names:
            module.register_forward_pre_hook(lambda module, _given, names=names: fetch(module, names))
            module.register_forward_hook(lambda module, _given, _out: drop(module))


def _segments(ends: torch.Tensor) -> torch.Tensor:
    """Cumulative lengths -> the segment's number for every row."""
    lengths = ends[1:] - ends[:-1]
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths)
