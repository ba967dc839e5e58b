"""A second implementation of the action head, to judge the exported one by.

Decides: golden values of the head. Written as GR00T N1.5's and N1.7's code runs, straight on the stored tensors: nothing is
precomputed, transposed or cut beforehand, every step attends to the features again. It shares no code with `head.py`
but the configuration.
"""

import math

import torch
import torch.nn.functional as F

from tactus_export.graphs import context_names
from tactus_export.head_config import Head


class ReferenceHead:
    """Eager, single precision, one embodiment."""

    def __init__(self, head: Head):
        self.config = head.config
        self.tensors = {}
        for name in head.weights.entries:
            short = name.removeprefix(head.prefix)
            tensor = head.weights.get(name)
            per_embodiment = short.split(".")[0] in ("state_encoder", "action_encoder", "action_decoder")
            self.tensors[short] = (tensor[head.embodiment].clone() if per_embodiment else tensor).float()

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def _category(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bti,io->bto", x, self.tensors[f"{name}.W"]) + self.tensors[f"{name}.b"]

    def _mlp(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self._category(f"{name}.layer2", F.relu(self._category(f"{name}.layer1", x)))

    def _attention(self, name: str, x: torch.Tensor, source: torch.Tensor, heads: int, read=None) -> torch.Tensor:
        """`read` [S]: which of `source` count; all where it is None."""
        q, k, v = (self._linear(f"{name}.to_{part}", t) for part, t in (("q", x), ("k", source), ("v", source)))
        d = q.shape[-1] // heads
        out = []
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(d)
            if read is not None:
                scores = scores.masked_fill(~read, float("-inf"))
            weights = torch.softmax(scores, dim=-1)
            out.append(weights @ v[..., part])
        return self._linear(f"{name}.to_out.0", torch.cat(out, dim=-1))

    def _feed_forward(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self._linear(f"{name}.net.2", F.gelu(self._linear(f"{name}.net.0.proj", x), approximate="tanh"))

    def _layer_norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], 1e-5)

    def process_backbone(self, features: torch.Tensor) -> torch.Tensor:
        """`vlln` and `vl_self_attention`, where the head has them. [1, S, features] -> the same shape."""
        x = self._layer_norm("vlln", features) if self.config.vlln else features
        for i in range(self.config.vl_layers):
            name = f"vl_self_attention.transformer_blocks.{i}"
            h = self._layer_norm(f"{name}.norm1", x)
            x = x + self._attention(f"{name}.attn1", h, h, self.config.vl_heads)
            x = x + self._feed_forward(f"{name}.ff", self._layer_norm(f"{name}.norm3", x))
        return x

    def read_by(self, block: int, length: int):
        """Which features a cross block reads: as `AlternateVLDiT`, blocks 0, 4, 8, .. read what is no image."""
        if not self.config.text_every:
            return None
        image = torch.arange(length) < self.config.image_tokens
        return ~image if block % (2 * self.config.text_every) == 0 else image

    def encode_state(self, state: torch.Tensor) -> torch.Tensor:
        """[1, columns] -> [1, 1, width]."""
        padded = torch.zeros(1, 1, self.config.max_state)
        padded[0, 0, : state.shape[-1]] = state[0]
        return self._mlp("state_encoder", padded)

    def context_names(self) -> tuple[str, ...]:
        """Names of what `context` returns."""
        return context_names(self.config)

    def context(self, features: torch.Tensor, state: torch.Tensor) -> list[torch.Tensor]:
        """What the exported `context` graph returns, for comparison with it."""
        x, c = self.process_backbone(features), self.config
        out = [self.encode_state(state)]
        for i in c.cross:
            for part in "kv":
                y = self._linear(f"model.transformer_blocks.{i}.attn1.to_{part}", x)
                read = self.read_by(i, x.shape[1])
                out.append(y if read is None else y[:, read])
        return out

    def velocity(
        self, x: torch.Tensor, time: torch.Tensor, features: torch.Tensor, state: torch.Tensor
    ) -> torch.Tensor:
        """`x` [1, H, A], `time` [1, H] in 0..1, `features` as they leave the backbone, `state` [1, columns]."""
        c = self.config
        bucket = (time * c.buckets).floor()
        half = c.width // 2
        exponent = -torch.arange(half).float() * (math.log(10000.0) / half)
        freqs = bucket.unsqueeze(-1) * exponent.exp()
        tau = torch.cat([freqs.sin(), freqs.cos()], dim=-1)
        a = self._category("action_encoder.W1", x)
        a = self._category("action_encoder.W2", torch.cat([a, tau], dim=-1))
        a = self._category("action_encoder.W3", a * a.sigmoid())
        if c.positions:
            a = a + self.tensors["position_embedding.weight"][torch.arange(c.horizon)].unsqueeze(0)
        parts = [self.encode_state(state)]
        if c.future:
            parts.append(self.tensors["future_tokens.weight"].unsqueeze(0))
        tokens = torch.cat([*parts, a], dim=1)

        steps = bucket[:, -1].unsqueeze(1).repeat(1, tokens.shape[1])
        if c.per_action:
            steps[:, -c.horizon :] = bucket
        exponent = -math.log(10000.0) * torch.arange(128).float() / 127
        angle = steps.unsqueeze(-1) * exponent.exp()
        embedder = "model.timestep_encoder.timestep_embedder"
        temb = self._linear(f"{embedder}.linear_1", torch.cat([angle.cos(), angle.sin()], dim=-1))
        temb = self._linear(f"{embedder}.linear_2", F.silu(temb))
        source = self.process_backbone(features)
        for i in range(c.layers):
            name = f"model.transformer_blocks.{i}"
            scale, shift = self._linear(f"{name}.norm1.linear", F.silu(temb)).chunk(2, dim=-1)
            h = F.layer_norm(tokens, (c.width,), eps=1e-5) * (1 + scale) + shift
            read = self.read_by(i, source.shape[1]) if i in c.cross else None
            tokens = tokens + self._attention(f"{name}.attn1", h, source if i in c.cross else h, c.heads, read)
            tokens = tokens + self._feed_forward(f"{name}.ff", F.layer_norm(tokens, (c.width,), eps=1e-5))
        shift, scale = self._linear("model.proj_out_1", F.silu(temb)).chunk(2, dim=-1)
        tokens = F.layer_norm(tokens, (c.width,), eps=1e-6) * (1 + scale) + shift
        return self._mlp("action_decoder", self._linear("model.proj_out_2", tokens))[:, -c.horizon :]

    def step(self, x, time, dt, prefix, mask, features, state) -> torch.Tensor:
        """One Euler step with committed actions held: at their value, at time 1."""
        held = mask.unsqueeze(-1) > 0.5
        x, time = torch.where(held, prefix, x), torch.where(mask > 0.5, torch.ones_like(time), time)
        return torch.where(held, prefix, x + dt * self.velocity(x, time, features, state))

    def guided_step(self, x, time, dt, prefix, mask, features, state, target, weight, guidance) -> torch.Tensor:
        """One step of real-time chunking (arXiv 2506.07339, eq. 2-4), its gradient by autograd."""
        held = mask.unsqueeze(-1) > 0.5
        time = torch.where(mask > 0.5, torch.ones_like(time), time)
        with torch.enable_grad():
            start = torch.where(held, prefix, x).detach().requires_grad_(True)
            v = self.velocity(start, time, features, state)
            end = start + (1 - time).unsqueeze(-1) * v
            error = (weight.unsqueeze(-1) * (target - end)).detach()
            (correction,) = torch.autograd.grad(end, start, error)
        x = (start + dt * (v + guidance * correction)).detach()
        return torch.where(held, prefix, x)
