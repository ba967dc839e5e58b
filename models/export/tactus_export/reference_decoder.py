"""What transformers generates: the judge of the exported decoder.

Decides: the prompt (the golden case's, without padding), that every step's scores come from Hugging Face's own model with
its own cache, which of them are kept. Does not decide: how closely they must agree (`verify.py`).
"""

import numpy as np
import torch

from tactus_export.checkpoint import Checkpoint
from tactus_export.error import ExportError
from tactus_export.reference import Reference, stream

# Columns of the scores that are kept: all of a small vocabulary, an even choice of a large one.
COLUMNS = 1024


class ReferenceDecoder:
    """transformers' whole language model behind the vision tower of `reference`."""

    def __init__(self, reference: Reference):
        from transformers import AutoConfig

        self.reference, checkpoint = reference, reference.checkpoint
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
        config._attn_implementation = "sdpa"
        with torch.device("meta"):
            self.model = type(reference.model)(config).eval().requires_grad_(False)
        self.model.visual = reference.model.visual
        self.model.language_model.rotary_emb = reference.model.language_model.rotary_emb
        stream(self.model.language_model, checkpoint.weights, checkpoint.prefixes["decoder"])

    def run(self, pictures: list[np.ndarray], text: str, steps: int) -> dict[str, torch.Tensor]:
        """`steps` greedy tokens after `text`. -> tensors of the golden case, by name."""
        from transformers import DynamicCache

        checkpoint, inner = self.reference.checkpoint, self.model
        batch = self.reference.prompts(text=[text], images=self.reference.planes(pictures), return_tensors="pt")
        ids, grid = batch["input_ids"], batch["image_grid_thw"]
        is_image = ids == checkpoint.image_token_id
        mask = torch.ones_like(ids)
        positions, _ = inner.get_rope_index(
            ids, mm_token_type_ids=is_image.int(), image_grid_thw=grid, attention_mask=mask
        )
        table = score_table(checkpoint)
        steps = min(steps, self.reference.policy["decoder.max_length"] - ids.shape[1])
        if steps < 1:
            raise ExportError(
                self.reference.policy.path, f"more than the prompt's {ids.shape[1]} tokens",
                self.reference.policy["decoder.max_length"], key="decoder.max_length",
            )  # fmt: skip
        cache, tokens, scores = DynamicCache(config=inner.config.text_config), [], []
        given = {
            "input_ids": ids, "position_ids": positions, "image_grid_thw": grid, "pixel_values": batch["pixel_values"],
            "mm_token_type_ids": is_image.int(),
        }  # fmt: skip
        following = int(positions.max()) + 1
        with torch.no_grad():
            for step in range(steps):
                out = inner(**given, past_key_values=cache, use_cache=True)
                scores.append(torch.nn.functional.linear(out.last_hidden_state[0, -1], table))
                tokens.append(int(scores[-1].argmax()))
                place = torch.full((3, 1, 1), following + step)
                given = {"input_ids": torch.tensor([tokens[-1:]]), "position_ids": place}
        scores = torch.stack(scores)
        columns = kept(scores)
        return {
            "decoder.input_ids": ids, "decoder.image_rows": is_image[0].nonzero()[:, 0],
            "decoder.position_ids": positions, "decoder.tokens": torch.tensor(tokens), "decoder.columns": columns,
            "decoder.logits": scores[:, columns], "decoder.scale": scores.abs().max()[None],
        }  # fmt: skip


def score_table(checkpoint: Checkpoint) -> torch.Tensor:
    """The table [vocabulary, hidden] that scores tokens."""
    stem = f"{checkpoint.prefixes['decoder']}.embed_tokens" if checkpoint.text.tied else "lm_head"
    return checkpoint.weights.get(f"{stem}.weight").float()


def kept(scores: torch.Tensor) -> torch.Tensor:
    """Columns of [steps, vocabulary] that go into a golden case: an even choice, and every step's best two."""
    vocabulary = scores.shape[1]
    if vocabulary <= COLUMNS:
        return torch.arange(vocabulary)
    even = torch.linspace(0, vocabulary - 1, COLUMNS).long()
    return torch.cat((even, scores.topk(2).indices.flatten())).unique()
