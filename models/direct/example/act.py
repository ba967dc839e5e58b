"""A tiny ACT (Zhao et al., 2023, arXiv 2304.13705): pictures and joints in, a chunk of actions out.

The architecture of the paper, small: one convolutional tower for all cameras, a transformer encoder over its tokens, the
state and a latent, a decoder of one learned query per action. The latent is the CVAE's; it is 0 in use, so the exported
graph has no encoder for it. Input names are LeRobot's.
"""

import math

import torch
from torch import nn

HORIZON, COLUMNS, WIDTH, LATENT = 16, 7, 96, 8


def grid_positions(rows: int, columns: int, width: int) -> torch.Tensor:
    """Fixed sine positions of a grid, [rows * columns, width]: half for the row, half for the column."""
    def of(n: int) -> torch.Tensor:
        frequency = torch.exp(torch.arange(width // 4) * (-math.log(100.0) / (width // 4)))
        angle = torch.arange(n)[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], 1)
    y, x = of(rows), of(columns)
    return torch.cat([y[:, None].expand(-1, columns, -1), x[None].expand(rows, -1, -1)], 2).reshape(rows * columns, width)


class Block(nn.Module):
    """Residual block of a small ResNet, halving the picture."""

    def __init__(self, from_: int, to: int):
        super().__init__()
        self.a = nn.Conv2d(from_, to, 3, 2, 1)
        self.b = nn.Conv2d(to, to, 3, 1, 1)
        self.skip = nn.Conv2d(from_, to, 1, 2)
        self.norms = nn.ModuleList(nn.GroupNorm(4, to) for _ in range(2))

    def forward(self, x):
        y = torch.relu(self.norms[0](self.a(x)))
        return torch.relu(self.norms[1](self.b(y)) + self.skip(x))


class Layer(nn.Module):
    """Pre-norm transformer layer; with `memory`, a decoder's."""

    def __init__(self, cross: bool):
        super().__init__()
        self.own = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(WIDTH, 4, batch_first=True) if cross else None
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 3 * WIDTH), nn.GELU(), nn.Linear(3 * WIDTH, WIDTH))

    def forward(self, x, at, memory=None, memory_at=None):
        y = self.norms[0](x)
        x = x + self.own(y + at, y + at, y, need_weights=False)[0]
        if memory is not None:
            y = self.norms[2](x)
            x = x + self.cross(y + at, memory + memory_at, memory, need_weights=False)[0]
        return x + self.mlp(self.norms[1](x))


class Act(nn.Module):
    """`forward` takes what a robot has, normalised state and pictures in 0..1, and gives a normalised chunk."""

    def __init__(self, cameras: int = 2):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(), Block(16, 32), Block(32, 64), Block(64, WIDTH))
        self.camera = nn.Parameter(torch.randn(cameras, 1, WIDTH) * 0.1)
        self.register_buffer("grid", grid_positions(7, 7, WIDTH))
        self.state = nn.Linear(COLUMNS, WIDTH)
        self.latent = nn.Linear(LATENT, WIDTH)
        self.tokens = nn.Parameter(torch.randn(2, WIDTH) * 0.1)
        self.encoder = nn.ModuleList(Layer(False) for _ in range(2))
        self.decoder = nn.ModuleList(Layer(True) for _ in range(2))
        self.queries = nn.Parameter(torch.randn(HORIZON, WIDTH) * 0.1)
        self.out = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, COLUMNS))
        # Training only: the CVAE's encoder, and where the cube is.
        self.posterior = nn.Sequential(nn.Linear(HORIZON * COLUMNS + COLUMNS, 128), nn.GELU(), nn.Linear(128, 2 * LATENT))
        self.cube = nn.Linear(WIDTH, 2)

    def encode(self, scene, wrist, state, z):
        """Memory and its positions; pictures are [B, 3, 112, 112]."""
        seen, at = [], []
        for k, picture in enumerate((scene, wrist)):
            features = self.tower(picture * 2 - 1)
            seen.append(features.flatten(2).transpose(1, 2))
            at.append(self.grid + self.camera[k])
        x = torch.cat([self.state(state)[:, None], self.latent(z)[:, None], *seen], 1)
        at = torch.cat([self.tokens, *at])[None]
        for layer in self.encoder:
            x = layer(x, at)
        return x, at

    def decode(self, memory, memory_at):
        x = torch.zeros_like(memory[:, :HORIZON])
        at = self.queries[None]
        for layer in self.decoder:
            x = layer(x, at, memory, memory_at)
        return self.out(x)

    def forward(self, scene, wrist, state):
        """`scene`, `wrist` [B, 3, 224, 224] in 0..1, `state` [B, 7] normalised -> `action` [B, 16, 7] normalised."""
        half = lambda picture: nn.functional.avg_pool2d(picture, 2)
        z = torch.zeros_like(state[:, :1]).expand(-1, LATENT)
        return self.decode(*self.encode(half(scene), half(wrist), state, z))
