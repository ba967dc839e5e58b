"""Qwen2.5-VL, re-implemented dense and batched, with Hugging Face parameter names.

Decides: the mathematics of the vision tower and of the decoder. Does not decide: image preprocessing (data.py),
losses (train.py), the action head (head.py).

Why not train Hugging Face's own module: its packed vision loop is slow on a CPU. Equality with it is tested
(test_model.py): same weights, same features, same logits.

Two entrances to the vision tower share their blocks: `images` (training: each image is exactly one attention window,
so a batch of images is dense) and `packed` (export: any number and size of images, masks from segment numbers).
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

IMAGE_SIZE = 112
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass
class VisionConfig:
    depth: int = 3
    hidden_size: int = 96
    intermediate_size: int = 192
    num_heads: int = 3
    patch_size: int = 14
    temporal_patch_size: int = 2
    spatial_merge_size: int = 2
    window_size: int = 112
    out_hidden_size: int = 128
    fullatt_block_indexes: tuple = (2,)


@dataclass
class TextConfig:
    vocab_size: int = 2460
    hidden_size: int = 128
    intermediate_size: int = 320
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10.0
    mrope_section: tuple = (4, 6, 6)


@dataclass
class MllmConfig:
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    select_layer: int = 3

    @classmethod
    def from_folder(cls, folder: Path) -> "MllmConfig":
        """Reads the Hugging Face config.json that export.py wrote."""
        raw = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        text, vision = raw["text_config"], raw["vision_config"]
        rope = text["rope_parameters"]
        text = {k: text[k] for k in asdict(TextConfig()) if k in text}
        text |= {"rope_theta": rope["rope_theta"], "mrope_section": tuple(rope["mrope_section"])}
        vision = {k: vision[k] for k in asdict(VisionConfig())}
        vision["fullatt_block_indexes"] = tuple(vision["fullatt_block_indexes"])
        return cls(VisionConfig(**vision), TextConfig(**text), raw["select_layer"])


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class GatedMlp(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, inner: int, bias: bool):
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def rotate(x, cos, sin):
    """Rotary embedding, halves convention. `x` [B, heads, T, d]; `cos`, `sin` broadcastable to it."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class VisionAttention(nn.Module):
    def __init__(self, c: VisionConfig):
        super().__init__()
        self.heads = c.num_heads
        self.qkv = nn.Linear(c.hidden_size, 3 * c.hidden_size)
        self.proj = nn.Linear(c.hidden_size, c.hidden_size)

    def forward(self, x, cos, sin, mask):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, attn_mask=mask)
        return self.proj(y.transpose(1, 2).reshape(b, t, d))


class VisionBlock(nn.Module):
    def __init__(self, c: VisionConfig):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(c.hidden_size), RmsNorm(c.hidden_size)
        self.attn = VisionAttention(c)
        self.mlp = GatedMlp(c.hidden_size, c.intermediate_size, bias=True)

    def forward(self, x, cos, sin, mask):
        x = x + self.attn(self.norm1(x), cos, sin, mask)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, c: VisionConfig):
        super().__init__()
        kernel = (c.temporal_patch_size, c.patch_size, c.patch_size)
        self.proj = nn.Conv3d(3, c.hidden_size, kernel, stride=kernel, bias=False)

    def forward(self, rows):
        """[.., 1176] (channel, frame, y, x), or [.., 588] where the two frames are the same picture."""
        w = self.proj.weight
        w = w.flatten(1) if rows.shape[-1] == w[0].numel() else w.sum(2).flatten(1)
        return F.linear(rows, w)


class Merger(nn.Module):
    def __init__(self, c: VisionConfig):
        super().__init__()
        self.inner = c.hidden_size * c.spatial_merge_size**2
        self.ln_q = RmsNorm(c.hidden_size)
        self.mlp = nn.Sequential(
            nn.Linear(self.inner, self.inner), nn.GELU(), nn.Linear(self.inner, c.out_hidden_size)
        )

    def forward(self, x):
        b, t, _ = x.shape
        return self.mlp(self.ln_q(x).reshape(b, t // 4, self.inner))


class VisionTower(nn.Module):
    def __init__(self, c: VisionConfig):
        super().__init__()
        self.config = c
        self.patch_embed = PatchEmbed(c)
        self.blocks = nn.ModuleList(VisionBlock(c) for _ in range(c.depth))
        self.merger = Merger(c)
        spatial = c.hidden_size // c.num_heads // 2
        inv_freq = 1.0 / (10000.0 ** (torch.arange(0, spatial, 2, dtype=torch.float) / spatial))
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        side = IMAGE_SIZE // c.patch_size
        self.register_buffer("image_positions", patch_positions(side, side, c.spatial_merge_size), persistent=False)

    def rope(self, positions):
        """[P, 2] (row, column) -> cos, sin [P, d]."""
        angles = (positions[..., None].float() * self.inv_freq).flatten(1)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    def images(self, rows):
        """[B, 64, 588 or 1176], one 112x112 image each -> [B, 16, out]."""
        cos, sin = self.rope(self.image_positions)
        x = self.patch_embed(rows)
        for block in self.blocks:
            x = block(x, cos, sin, None)
        return self.merger(x)

    def packed(self, pixel_values, positions, window_index, seg_full, seg_window):
        """Any images at once; shapes as in the bundle's `vision` graph. -> [P/4, out] in the original order."""
        unit = self.config.spatial_merge_size**2
        reorder = lambda t: t.reshape(-1, unit, t.shape[-1])[window_index].reshape(-1, t.shape[-1])
        x = reorder(self.patch_embed(pixel_values))[None]
        cos, sin = (reorder(t) for t in self.rope(positions))
        masks = [(s[:, None] == s[None, :])[None, None] for s in (seg_window, seg_full)]
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, masks[i in self.config.fullatt_block_indexes])
        return self.merger(x)[0][torch.argsort(window_index)]


class TextAttention(nn.Module):
    def __init__(self, c: TextConfig):
        super().__init__()
        self.heads, self.kv_heads = c.num_attention_heads, c.num_key_value_heads
        d = c.hidden_size // self.heads
        self.q_proj = nn.Linear(c.hidden_size, self.heads * d)
        self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * d)
        self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * d)
        self.o_proj = nn.Linear(self.heads * d, c.hidden_size, bias=False)

    def forward(self, x, cos, sin):
        b, t, width = x.shape
        split = lambda y, n: y.view(b, t, n, -1).transpose(1, 2)
        q = rotate(split(self.q_proj(x), self.heads), cos, sin)
        k = rotate(split(self.k_proj(x), self.kv_heads), cos, sin)
        v = split(self.v_proj(x), self.kv_heads)
        groups = self.heads // self.kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, width))


class DecoderLayer(nn.Module):
    def __init__(self, c: TextConfig):
        super().__init__()
        self.self_attn = TextAttention(c)
        self.mlp = GatedMlp(c.hidden_size, c.intermediate_size, bias=False)
        self.input_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, c: TextConfig):
        super().__init__()
        self.config = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(c) for _ in range(c.num_hidden_layers))
        self.norm = RmsNorm(c.hidden_size, c.rms_norm_eps)
        d = c.hidden_size // c.num_attention_heads
        inv_freq = 1.0 / (c.rope_theta ** (torch.arange(0, d, 2, dtype=torch.float) / d))
        self.register_buffer("inv_freq", inv_freq, persistent=False)

    def rope(self, positions):
        """M-RoPE, chunked: `positions` [3, B, T] (time, row, column) -> cos, sin [B, 1, T, d]."""
        angles = positions[..., None].float() * self.inv_freq
        parts = angles.split(list(self.config.mrope_section), dim=-1)
        angles = torch.cat([part[i % 3] for i, part in enumerate(parts)], dim=-1)
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        return angles.cos(), angles.sin()

    def run(self, x, positions, first: int, last: int):
        """Layers first..last-1 on the residual stream `x` [B, T, hidden]; no final norm."""
        cos, sin = self.rope(positions)
        for layer in self.layers[first:last]:
            x = layer(x, cos, sin)
        return x


class Mllm(nn.Module):
    """`model.visual.*`, `model.language_model.*`; the output matrix is the embedding (tied)."""

    def __init__(self, config: MllmConfig):
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.visual = VisionTower(config.vision)
        self.model.language_model = Decoder(config.text)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.model.visual.patch_embed.proj.weight, std=0.02)
        nn.init.normal_(self.model.language_model.embed_tokens.weight, std=config.text.hidden_size**-0.5)
        for layer in list(self.model.language_model.layers):
            for m in (layer.self_attn.o_proj, layer.mlp.down_proj):
                m.weight.data.mul_((2 * config.text.num_hidden_layers) ** -0.5)

    def embed(self, ids, image_embeds, image_rows):
        """`ids` [B, T], `image_embeds` [B, N, hidden], `image_rows` [B, N] -> [B, T, hidden]."""
        x = self.model.language_model.embed_tokens(ids)
        index = image_rows[..., None].expand(-1, -1, x.shape[-1])
        return x.scatter(1, index, image_embeds.to(x.dtype))

    def features(self, ids, image_embeds, image_rows, positions):
        """Residual stream after layer `select_layer`, before any final norm: what the action head reads."""
        x = self.embed(ids, image_embeds, image_rows)
        return self.model.language_model.run(x, positions, 0, self.config.select_layer)

    def hidden(self, features, positions):
        """The remaining layers and the final norm."""
        lm = self.model.language_model
        return lm.norm(lm.run(features, positions, self.config.select_layer, len(lm.layers)))

    def logits(self, hidden):
        return F.linear(hidden, self.model.language_model.embed_tokens.weight)


def patch_positions(rows: int, columns: int, merge: int) -> torch.Tensor:
    """(row, column) of each patch of one image, in the order of pixel_values: 2x2 merge blocks, row by row. [P, 2]."""
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    grid = torch.stack((r, c), dim=-1).view(rows // merge, merge, columns // merge, merge, 2)
    return grid.transpose(1, 2).reshape(-1, 2)


def patchify(images, patch: int = 14, merge: int = 2):
    """[B, 3, H, W] -> [B, P, 3*14*14], patches in 2x2-merge order, values in (channel, y, x) order."""
    b, c, h, w = images.shape
    x = images.reshape(b, c, h // patch // merge, merge, patch, w // patch // merge, merge, patch)
    return x.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(b, (h // patch) * (w // patch), c * patch * patch)


def normalise(pixels):
    """uint8-valued [.., 3, H, W] (0..255) -> CLIP-normalised float."""
    mean = torch.tensor(MEAN, dtype=torch.float).view(3, 1, 1)
    std = torch.tensor(STD, dtype=torch.float).view(3, 1, 1)
    return (pixels.float() / 255.0 - mean) / std
