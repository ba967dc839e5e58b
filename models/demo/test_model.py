"""The re-implementation equals transformers' Qwen2.5-VL, loaded from the checkpoint folder; and the runtime's index
tensors equal the ones transformers computes.

    python -m pytest models/demo            (needs the environment of `make venv`)
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import checkpoint
import pictures as tower
import prompt
import tokens
from data import Prompts
from model import normalise, patch_positions, patchify

FOLDER = Path(__file__).parent / "checkpoint"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="no checkpoint")


@pytest.fixture(scope="module")
def ours():
    return checkpoint.load(FOLDER)[0]


@pytest.fixture(scope="module")
def theirs():
    from transformers import Qwen2_5_VLForConditionalGeneration

    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        FOLDER, dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    return model.eval()


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (2, 16, 16, 3), np.uint8)
    return [np.asarray(Image.fromarray(n).resize((112, 112), Image.Resampling.BICUBIC)) for n in noise]


@pytest.fixture(scope="module")
def text():
    tokenizer = tokens.load(FOLDER)
    prompts = Prompts(tokenizer)
    ids = np.array(tokens.encode(tokenizer, prompt.render("Pick up the red cube!")), np.int64)
    return {"ids": torch.from_numpy(ids)[None], "rows": torch.from_numpy(prompts.rows(ids))[None],
            "positions": torch.from_numpy(prompts.positions(ids))[:, None], "image_token": prompts.image_token}


def close(got, expected, relative=1e-5):
    error, scale = (got - expected).abs().max().item(), expected.abs().max().item()
    assert error <= relative * scale, f"{error:.2e} of {scale:.2f}"


GRID = torch.tensor([[1, 8, 8], [1, 8, 8]])


@torch.no_grad()
def test_vision_equals_transformers(ours, theirs, pictures):
    seen = tower.vision_inputs(pictures)
    expected = theirs.model.visual(seen["pixel_values"], grid_thw=GRID).pooler_output
    close(ours.model.visual.packed(*seen.values()), expected)
    x = torch.stack([torch.from_numpy(p.copy()).permute(2, 0, 1) for p in pictures])
    close(ours.model.visual.images(patchify(normalise(x))).flatten(0, 1), expected)


@torch.no_grad()
def test_windows_of_larger_pictures_equal_transformers(ours, theirs):
    """The packed entrance with pictures of several windows, unlike anything the demo feeds it."""
    from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids, get_vision_window_index

    grid = torch.tensor([[1, 16, 12], [1, 8, 20]])
    pixels = torch.randn(int(grid.prod(1).sum()), 1176, generator=torch.Generator().manual_seed(0))
    index, windows = get_vision_window_index(grid, 2, 112, 14)
    segments = lambda ends: torch.repeat_interleave(torch.arange(len(ends) - 1), ends[1:] - ends[:-1])
    got = ours.model.visual.packed(pixels, get_vision_position_ids(grid, 2), index,
                                   segments(get_vision_cu_seqlens(grid)), segments(windows))
    close(got, theirs.model.visual(pixels, grid_thw=grid).pooler_output)


@torch.no_grad()
def test_features_and_logits_equal_transformers(ours, theirs, pictures, text):
    seen = tower.vision_inputs(pictures)
    types = (text["ids"] == text["image_token"]).int()
    out = theirs(input_ids=text["ids"], pixel_values=seen["pixel_values"], image_grid_thw=GRID,
                 mm_token_type_ids=types, attention_mask=torch.ones_like(text["ids"]), output_hidden_states=True)
    embeds = ours.model.visual.packed(*seen.values())[None]
    features = ours.features(text["ids"], embeds, text["rows"], text["positions"])
    # hidden_states[i] is the input of layer i: index 3 is the residual stream after three layers, before any norm.
    close(features, out.hidden_states[3])
    close(ours.logits(ours.hidden(features, text["positions"])), out.logits)


def test_position_ids_equal_transformers(theirs, text):
    types = (text["ids"] == text["image_token"]).int()
    expected, _ = theirs.model.get_rope_index(text["ids"], types, image_grid_thw=GRID)
    assert torch.equal(text["positions"], expected)


def test_patch_positions_and_windows_equal_transformers(pictures):
    from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

    assert torch.equal(patch_positions(8, 8, 2).repeat(2, 1), get_vision_position_ids(GRID, 2))
    index, windows = get_vision_window_index(GRID, 2, 112, 14)
    assert torch.equal(tower.vision_inputs(pictures)["window_index"], index)
    assert windows.tolist() == [0, 64, 128]


def test_pixel_values_equal_the_declared_processor():
    processor = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    from prepare import resize

    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8))
    expected = processor.Qwen2VLImageProcessorPil.from_pretrained(FOLDER)(picture, return_tensors="pt")
    assert expected["image_grid_thw"].tolist() == [[1, 8, 8]]
    ours = tower.vision_inputs([np.asarray(resize(picture))])["pixel_values"]
    assert (ours - expected["pixel_values"]).abs().max() < 1e-5


def test_chat_template_gives_the_prompt():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    content = [{"type": "text", "text": "pick up the red cube"}, {"type": "image"}, {"type": "image"}]
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False,
                                             add_generation_prompt=True)
    pads = prompt.IMAGE_TOKEN * prompt.TOKENS_PER_IMAGE
    assert rendered.replace(prompt.IMAGE_TOKEN, pads) == prompt.render("Pick up the red cube.")
    assert tokenizer(prompt.render("Lift the blue cube"), add_special_tokens=False).input_ids == tokens.encode(
        tokens.load(FOLDER), prompt.render("lift the blue cube"))
