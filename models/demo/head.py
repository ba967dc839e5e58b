"""The action head: flow matching with a diffusion transformer, after GR00T N1.5.

Parameter names follow that code base; the embodiment axis is kept, with one embodiment. Time runs from 0 (noise) to
1 (action): x_t = (1 - t) noise + t action, the head predicts the velocity action - noise.

DIFFERENCE from GR00T N1.5: time is given per action [B, H] and modulates (AdaLN) each action token by its own time,
so that committed actions can be given clean at time 1 (training-time real-time chunking, arXiv 2512.05964). State
and future tokens take the time of the last action, which is never committed. The position table has `horizon` rows.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class HeadConfig:
    backbone_dim: int = 128
    hidden_size: int = 128
    num_heads: int = 4
    num_layers: int = 4
    vl_layers: int = 1
    future_tokens: int = 8
    action_horizon: int = 16
    action_dim: int = 7
    state_dim: int = 7
    max_num_embodiments: int = 1
    num_timestep_buckets: int = 1000
    num_inference_timesteps: int = 4
    noise_beta_alpha: float = 1.5
    noise_beta_beta: float = 1.0
    noise_s: float = 0.999
    max_prefix: int = 6

    def to_dict(self) -> dict:
        return asdict(self)


class CategorySpecificLinear(nn.Module):
    """One weight matrix per embodiment. Only embodiment 0 exists here, so the choice is a constant."""

    def __init__(self, categories: int, inputs: int, outputs: int):
        super().__init__()
        self.W = nn.Parameter(torch.randn(categories, inputs, outputs) * inputs**-0.5)
        self.b = nn.Parameter(torch.zeros(categories, outputs))

    def forward(self, x):
        return x @ self.W[0] + self.b[0]


class CategorySpecificMLP(nn.Module):
    def __init__(self, categories: int, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.layer1 = CategorySpecificLinear(categories, inputs, hidden)
        self.layer2 = CategorySpecificLinear(categories, hidden, outputs)

    def forward(self, x):
        return self.layer2(F.relu(self.layer1(x)))


class ActionEncoder(nn.Module):
    """Noisy actions and their times -> tokens."""

    def __init__(self, categories: int, action_dim: int, width: int):
        super().__init__()
        self.W1 = CategorySpecificLinear(categories, action_dim, width)
        self.W2 = CategorySpecificLinear(categories, 2 * width, width)
        self.W3 = CategorySpecificLinear(categories, width, width)
        half = width // 2
        frequencies = torch.exp(-torch.arange(half, dtype=torch.float) * (math.log(10000.0) / half))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x, bucket):
        """`x` [B, H, A]; `bucket` [B, H] (float, whole numbers)."""
        angles = bucket[..., None] * self.frequencies
        time = torch.cat((angles.sin(), angles.cos()), dim=-1)
        return self.W3(F.silu(self.W2(torch.cat((self.W1(x), time), dim=-1))))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def _split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def keys_values(self, source):
        """[B, S, width] -> k, v [B, heads, S, d]."""
        return self._split(self.to_k(source)), self._split(self.to_v(source))

    def forward(self, x, k, v):
        y = F.scaled_dot_product_attention(self._split(self.to_q(x)), k, v)
        return self.to_out[0](y.transpose(1, 2).reshape(x.shape))


class GeluProjection(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(width, inner)

    def forward(self, x):
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.net = nn.ModuleList([GeluProjection(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class AdaLayerNorm(nn.Module):
    """LayerNorm without weights, then scale and shift from the time embedding of each token."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width, eps=1e-5, elementwise_affine=False)

    def forward(self, x, time):
        scale, shift = self.linear(F.silu(time)).chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class DitBlock(nn.Module):
    """Cross-attention when given keys and values, else self-attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = AdaLayerNorm(width)
        self.attn1 = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=1e-5, elementwise_affine=False)
        self.ff = FeedForward(width)

    def forward(self, x, time, cross):
        h = self.norm1(x, time)
        k, v = cross if cross is not None else self.attn1.keys_values(h)
        x = x + self.attn1(h, k, v)
        return x + self.ff(self.norm3(x))


class VlBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.attn1(h, *self.attn1.keys_values(h))
        return x + self.ff(self.norm3(x))


class TimestepEncoder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.timestep_embedder = nn.Module()
        self.timestep_embedder.linear_1 = nn.Linear(256, width)
        self.timestep_embedder.linear_2 = nn.Linear(width, width)
        frequencies = torch.exp(-torch.arange(128, dtype=torch.float) * (math.log(10000.0) / 127))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, bucket):
        angles = bucket[..., None] * self.frequencies
        e = self.timestep_embedder
        return e.linear_2(F.silu(e.linear_1(torch.cat((angles.cos(), angles.sin()), dim=-1))))


class Dit(nn.Module):
    """Even blocks attend to the vision-language features, odd blocks to the tokens themselves."""

    def __init__(self, c: HeadConfig):
        super().__init__()
        width = c.hidden_size
        self.timestep_encoder = TimestepEncoder(width)
        self.transformer_blocks = nn.ModuleList(DitBlock(width, c.num_heads) for _ in range(c.num_layers))
        self.norm_out = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.proj_out_1 = nn.Linear(width, 2 * width)
        self.proj_out_2 = nn.Linear(width, width)

    def forward(self, x, bucket, cross):
        """`x` [B, T, width]; `bucket` [B, T]; `cross`: k, v of the cross-attention blocks in order."""
        time = self.timestep_encoder(bucket)
        for i, block in enumerate(self.transformer_blocks):
            x = block(x, time, cross[i // 2] if i % 2 == 0 else None)
        shift, scale = self.proj_out_1(F.silu(time)).chunk(2, dim=-1)
        return self.proj_out_2(self.norm_out(x) * (1 + scale) + shift)


class ActionHead(nn.Module):
    def __init__(self, config: HeadConfig):
        super().__init__()
        c = self.config = config
        width, n = c.hidden_size, c.max_num_embodiments
        self.state_encoder = CategorySpecificMLP(n, c.state_dim, width, width)
        self.action_encoder = ActionEncoder(n, c.action_dim, width)
        self.action_decoder = CategorySpecificMLP(n, width, width, c.action_dim)
        self.future_tokens = nn.Embedding(c.future_tokens, width)
        self.position_embedding = nn.Embedding(c.action_horizon, width)
        self.vlln = nn.LayerNorm(c.backbone_dim)
        self.vl_self_attention = nn.Module()
        self.vl_self_attention.transformer_blocks = nn.ModuleList(
            VlBlock(c.backbone_dim, c.num_heads) for _ in range(c.vl_layers)
        )
        self.model = Dit(c)
        nn.init.normal_(self.future_tokens.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=0.02)

    def context(self, features, state):
        """What is computed once per chunk. `features` [B, S, backbone], `state` [B, state_dim] (normalised) ->
        (state token [B, 1, width], [(k, v) of each cross-attention block])."""
        x = self.vlln(features)
        for block in self.vl_self_attention.transformer_blocks:
            x = block(x)
        cross = [b.attn1.keys_values(x) for b in self.model.transformer_blocks[::2]]
        return self.state_encoder(state)[:, None], cross

    def bucket(self, time):
        """Time 0..1 -> whole bucket number, as float."""
        return torch.floor(time.clamp(min=0.0) * float(self.config.num_timestep_buckets))

    def velocity(self, x, time, state_token, cross):
        """`x` [B, H, A], `time` [B, H] -> velocity [B, H, A]."""
        b, horizon, _ = x.shape
        bucket = self.bucket(time)
        actions = self.action_encoder(x, bucket) + self.position_embedding.weight
        future = self.future_tokens.weight.expand(b, -1, -1)
        tokens = torch.cat((state_token, future, actions), dim=1)
        others = bucket[:, -1:].expand(-1, tokens.shape[1] - horizon)
        y = self.model(tokens, torch.cat((others, bucket), dim=1), cross)
        return self.action_decoder(y[:, -horizon:])

    def step(self, x, time, dt, prefix, prefix_mask, state_token, cross):
        """One Euler step with committed actions held. `time`, `prefix_mask` [B, H], `dt` [1] -> x_next."""
        held = prefix_mask[..., None] > 0.5
        x = torch.where(held, prefix, x)
        time = torch.where(prefix_mask > 0.5, torch.ones_like(time), time)
        v = self.velocity(x, time, state_token, cross)
        return torch.where(held, prefix, x + dt * v)
