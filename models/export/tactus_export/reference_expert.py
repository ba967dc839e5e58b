"""A second implementation of pi0, pi0.5 and SmolVLA, to judge the exported one by.

Decides: golden values of all of it. Written as LeRobot's code runs, straight on the stored tensors: pictures through a
convolution, masks by blocks, the state's token among the actions' (pi0) in every step, time from 1 to 0. It shares no code
with `expert.py` but the configuration; `test_expert.py` holds it to LeRobot's own modules where these are installed.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from tactus_export.expert_config import ROPE_BASE, STATE_BINS, Expert
from tactus_export.expert_graphs import context_names
from tactus_export.reference_head import ReferenceHead


class ReferenceExpert(ReferenceHead):
    """Eager, single precision; Euler steps as of every head."""

    def __init__(self, expert: Expert):
        self.config, self.weights, self.names = expert.config, expert.weights, expert.prefixes

    def get(self, module: str, name: str) -> torch.Tensor:
        """A stored tensor."""
        begin = self.names[module]
        return self.weights.get(f"{begin}.{name}".strip(".")).float()

    def has(self, module: str, name: str) -> bool:
        return f"{self.names[module]}.{name}".strip(".") in self.weights

    def linear(self, module: str, name: str, x: torch.Tensor) -> torch.Tensor:
        bias = self.get(module, f"{name}.bias") if self.has(module, f"{name}.bias") else None
        return F.linear(x, self.get(module, f"{name}.weight"), bias)

    # ---- pictures

    def picture(self, rgb: np.ndarray, bars: float) -> torch.Tensor:
        """[h, w, 3] u8 -> [3, side, side], -1..1 and bars of the value `bars`."""
        side, (height, width) = self.config.image, rgb.shape[:2]
        x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
        ratio = max(width / side, height / side)
        h, w = int(height / ratio), int(width / ratio)
        x = F.interpolate(x, size=(h, w), mode="bilinear", align_corners=False).clamp(0, 1) * 2 - 1
        down, across = side - h, side - w
        centred = (across // 2, across - across // 2, down // 2, down - down // 2)
        return F.pad(x, centred if self.config.gemma else (across, 0, down, 0), value=bars)[0]

    def embed(self, picture: torch.Tensor) -> torch.Tensor:
        """One picture -> its tokens [N, width], as they enter the language model."""
        v, s = self.config.vision, self.config.side
        x = F.conv2d(
            picture[None], self.get("vision", "embeddings.patch_embedding.weight"),
            self.get("vision", "embeddings.patch_embedding.bias"), stride=v.patch,
        ).flatten(2).transpose(1, 2)  # fmt: skip
        x = x + self.get("vision", "embeddings.position_embedding.weight")
        norm = lambda name, x: F.layer_norm(
            x, x.shape[-1:], self.get("vision", f"{name}.weight"), self.get("vision", f"{name}.bias"), 1e-6
        )
        for i in range(v.depth):
            name = f"encoder.layers.{i}"
            h = norm(f"{name}.layer_norm1", x)
            q, k, z = (self.linear("vision", f"{name}.self_attn.{p}_proj", h) for p in "qkv")
            parts, d = [], v.hidden // v.heads
            for n in range(v.heads):
                at = slice(n * d, (n + 1) * d)
                parts.append(torch.softmax(q[..., at] @ k[..., at].transpose(1, 2) / math.sqrt(d), -1) @ z[..., at])
            x = x + self.linear("vision", f"{name}.self_attn.out_proj", torch.cat(parts, -1))
            h = self.linear("vision", f"{name}.mlp.fc1", norm(f"{name}.layer_norm2", x))
            x = x + self.linear("vision", f"{name}.mlp.fc2", F.gelu(h, approximate="tanh"))
        x, m = norm("post_layernorm", x)[0], v.merge
        # Pixel shuffle: units in lines, in each its patches in lines.
        x = x.view(s // m, m, s // m, m, -1).permute(0, 2, 1, 3, 4).reshape((s // m) ** 2, -1)
        y = F.linear(x, self.get("connector", "weight"), self.get("connector", "bias") if self.config.gemma else None)
        return y if self.config.gemma else y * math.sqrt(self.config.text.width)

    # ---- words

    def words(self, template: str, instruction: str, image: str, state: torch.Tensor, columns: int) -> str:
        """The prompt's text; `state` [1, columns], normalised."""
        said = ""
        if "{state}" in template:
            padded = np.zeros(columns)
            padded[: state.shape[-1]] = state[0].double().numpy()
            edges = np.linspace(-1, 1, STATE_BINS + 1)[:-1]
            said = " ".join(str(n) for n in np.digitize(padded, edges) - 1)
        before, after = template.split("{instruction}")
        fill = lambda part: part.replace("{images}", image).replace("{state}", said)
        return fill(before) + instruction + fill(after)

    def embed_words(self, ids: list[int]) -> torch.Tensor:
        """[S] -> [S, width]."""
        tied = "text.embed_tokens" in self.names
        table = self.get("text.embed_tokens", "weight") if tied else self.get("text", "embed_tokens.weight")
        return table[torch.tensor(ids)] * math.sqrt(self.config.text.width)

    # ---- layers

    def norm(self, module: str, name: str, x: torch.Tensor, condition=None):
        """-> normed, gate."""
        stack = self.config.text if module == "text" else self.config.expert
        y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + stack.eps)
        if condition is not None:
            scale, shift, gate = self.linear(module, f"{name}.dense", condition).chunk(3, -1)
            return y * (1 + scale) + shift, gate
        weight = self.get(module, f"{name}.weight")
        return y * (1 + weight if self.config.gemma else weight), 1.0

    def turn(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """[T, heads, d] at positions [T]."""
        half = x.shape[-1] // 2
        radians = positions[:, None].float() / ROPE_BASE ** (torch.arange(half).float() * 2 / x.shape[-1])
        cos, sin = radians.cos()[:, None], radians.sin()[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def layer(self, module: str, i: int, x, positions, mask, past=None, condition=None, cross=False):
        """`x` [T, width]; `mask` [T, all]: what each reads. -> x, its own keys and values [T, kv_heads, d]."""
        c, name = self.config.text, f"layers.{i}"
        h, gate = self.norm(module, f"{name}.input_layernorm", x, condition)
        heads = lambda part, t: self.linear(module, f"{name}.self_attn.{part}_proj", t).view(t.shape[0], -1, c.head_dim)
        q = self.turn(heads("q", h), positions)
        own = None
        if cross:
            k, v = (heads(part, t.flatten(1)) for part, t in zip("kv", past))
        else:
            own = k, v = self.turn(heads("k", h), positions), heads("v", h)
            if past is not None:
                k, v = torch.cat((past[0], k)), torch.cat((past[1], v))
        shared, out = c.heads // c.kv_heads, []
        for n in range(c.heads):
            scores = q[:, n] @ k[:, n // shared].T / math.sqrt(c.head_dim)
            out.append(torch.softmax(scores.masked_fill(~mask, float("-inf")), -1) @ v[:, n // shared])
        x = x + self.linear(module, f"{name}.self_attn.o_proj", torch.cat(out, -1)) * gate
        h, gate = self.norm(module, f"{name}.post_attention_layernorm", x, condition)
        a = self.linear(module, f"{name}.mlp.gate_proj", h)
        a = F.gelu(a, approximate="tanh") if self.config.gemma else F.silu(a)
        h = self.linear(module, f"{name}.mlp.down_proj", a * self.linear(module, f"{name}.mlp.up_proj", h))
        return x + h * gate, own

    def prefix(self, embeds: torch.Tensor, state=None) -> list:
        """Embeddings [S, width] and SmolVLA's state token, which they do not read -> keys and values of every layer."""
        count, out = embeds.shape[0], []
        if state is not None:
            embeds = torch.cat((embeds, self.token(state)))
        mask = torch.ones(embeds.shape[0], embeds.shape[0], dtype=torch.bool)
        mask[:count, count:] = False
        x, positions = embeds, torch.arange(embeds.shape[0])
        for i in range(self.config.text.layers):
            x, own = self.layer("text", i, x, positions, mask)
            out.append(own)
        return out

    def token(self, state: torch.Tensor) -> torch.Tensor:
        """[1, columns] -> [1, width]."""
        return self.linear("flow", "state_proj", F.pad(state, (0, self.config.max_state - state.shape[-1])))

    # ---- boundaries

    def run(self, pictures: list[torch.Tensor], ids: list[int], image_token: int) -> dict[str, torch.Tensor]:
        """Pictures as `picture` makes them and a prompt -> every boundary up to `features`."""
        c, v, m = self.config, self.config.vision, self.config.vision.merge
        s, p = c.side, v.patch
        units = lambda t: t.view(s // m, m, s // m, m, -1).permute(0, 2, 1, 3, 4).reshape(s * s, -1)
        place = torch.stack(torch.meshgrid(torch.arange(s), torch.arange(s), indexing="ij"), -1)
        patches = [units(x.view(3, s, p, s, p).permute(1, 3, 0, 2, 4).reshape(s, s, -1)) for x in pictures]
        rows = [i for i, token in enumerate(ids) if token == image_token]
        tokens = torch.cat([self.embed(x) for x in pictures])
        self.embeds = torch.zeros(len(ids), c.text.width)
        others = [i for i in range(len(ids)) if ids[i] != image_token]
        self.embeds[others] = self.embed_words([ids[i] for i in others])
        self.embeds[rows] = tokens
        pairs = self.prefix(self.embeds)
        return {
            "pixel_values": torch.cat(patches), "pos_ids": torch.cat([units(place) for _ in pictures]),
            "seg_full": torch.arange(len(pictures)).repeat_interleave(s * s), "image_embeds": tokens,
            "input_ids": torch.tensor([ids]), "image_rows": torch.tensor(rows),
            "position_ids": torch.arange(len(ids)).expand(3, 1, -1).clone(),
            "features": torch.cat([t.flatten(1) for pair in pairs for t in pair], -1)[None],
        }  # fmt: skip

    def context_names(self) -> tuple[str, ...]:
        return context_names(self.config)

    def pairs(self, features: torch.Tensor) -> list:
        """What `features` hold, by layer."""
        c = self.config.text
        wide = features[0].view(features.shape[1], c.layers, 2, c.kv_heads, c.head_dim)
        return [(wide[:, i, 0], wide[:, i, 1]) for i in range(c.layers)]

    def with_state(self, features: torch.Tensor, state: torch.Tensor) -> list:
        """Keys and values that every step reads, SmolVLA's state among them."""
        pairs = self.pairs(features)
        if self.config.family != "smolvla":
            return pairs
        count, x, out = features.shape[1], self.token(state), []
        read = torch.ones(1, count + 1, dtype=torch.bool)
        for i, (k, v) in enumerate(pairs):
            x, own = self.layer("text", i, x, torch.tensor([count]), read, (k, v))
            out.append((torch.cat((k, own[0])), torch.cat((v, own[1]))))
        return out

    def context(self, features: torch.Tensor, state: torch.Tensor) -> list[torch.Tensor]:
        """What the exported `context` graph returns, for comparison with it."""
        c, count = self.config, features.shape[1]
        pairs = self.with_state(features, state)
        if c.family == "pi0":
            x, own = self.token(state), []
            read = torch.ones(1, count + 1, dtype=torch.bool)
            for i, past in enumerate(pairs):
                x, made = self.layer("expert", i, x, torch.tensor([count]), read, past)
                own.append(made)
            pairs = [tuple(torch.cat(both) for both in zip(past, made)) for past, made in zip(pairs, own)]
        for i in c.cross:
            project = lambda part, t: self.linear("expert", f"layers.{i}.self_attn.{part}_proj", t.flatten(1)).view(t.shape)
            pairs[i] = project("k", pairs[i][0]), project("v", pairs[i][1])
        return [t.permute(1, 0, 2)[None] for pair in pairs for t in pair]

    def wave(self, time: torch.Tensor) -> torch.Tensor:
        """Their time [T] -> [T, width]."""
        c, half = self.config, self.config.expert.width // 2
        period = c.min_period * (c.max_period / c.min_period) ** torch.linspace(0, 1, half, dtype=torch.float64)
        angle = (1.0 / period * 2 * math.pi)[None] * time[:, None]
        return torch.cat((angle.sin(), angle.cos()), 1).float()

    def velocity(self, x, time, features, state) -> torch.Tensor:
        """`x` [1, H, A], `time` [1, H] in 0..1, our direction. Their time is a single-precision number."""
        c, horizon = self.config, self.config.horizon
        theirs = (1.0 - time[0].double()).float()
        pairs, condition = self.with_state(features, state), None
        h = self.linear("flow", "action_in_proj", x[0])
        count = pairs[0][0].shape[0]
        if c.adaptive:
            wave = self.wave(theirs if c.per_action else theirs[-1:])
            wave = F.silu(self.linear("flow", "time_mlp_in", wave))
            condition = F.silu(self.linear("flow", "time_mlp_out", wave))
        else:
            h = self.linear("flow", "action_time_mlp_in", torch.cat((h, self.wave(theirs)), 1))
            h = self.linear("flow", "action_time_mlp_out", F.silu(h))
        blocks = torch.arange(horizon) if c.causal else torch.zeros(horizon)
        if c.family == "pi0":
            h, blocks = torch.cat((self.token(state), h)), torch.cat((torch.tensor([-1.0]), blocks))
        reads = blocks[None, :] <= blocks[:, None]
        everything = torch.ones(len(blocks), count, dtype=torch.bool)
        for i in range(c.text.layers):
            if i in c.cross:
                h, _ = self.layer("expert", i, h, torch.arange(horizon), everything, pairs[i], cross=True)
            else:
                positions, mask = count + torch.arange(len(blocks)), torch.cat((everything, reads), 1)
                h, _ = self.layer("expert", i, h, positions, mask, pairs[i], condition)
        h, _ = self.norm("expert", "norm", h, condition)
        return -self.linear("flow", "action_out_proj", h[-horizon:])[None]
