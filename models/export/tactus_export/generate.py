"""The whole language model over a cache of keys and values: prompts and single tokens through one graph.

Decides: how keys and values enter the cache, what a query sees, that logits are of the last token only. Does not
decide: which token comes next, nor how long the cache is (the runtime allocates it, up to what the manifest says).

S new tokens, N image tokens, D levels of DeepStack, L places of the cache, K heads of keys. The cache of a layer is one
tensor [K, L, d] for keys and one for values; each comes in and goes out, and the runtime binds both to the same memory:
the new rows are scattered into it and nothing else is copied.
"""

import torch
from torch import nn

from tactus_export.checkpoint import TextConfig
from tactus_export.layers import Table
from tactus_export.text import Attention, Decoder, Layer


class CachedAttention(Attention):
    """Grouped-query attention of new tokens over the whole cache."""

    def forward(self, x, cos, sin, mask, places, keys, values):
        """`x` [1, S, hidden], `mask` [S, L], `places` (heads [K, 1], rows [1, S]) -> [1, S, hidden], keys, values."""
        c, length = self.config, x.shape[1]
        q, k, v = self.queries_keys_values(x, cos, sin)
        heads_first = lambda t: t.view(length, -1, c.head_dim).transpose(0, 1)
        q, k, v = heads_first(q), heads_first(k), heads_first(v)
        keys, values = keys.index_put(places, k), values.index_put(places, v)
        groups = c.heads // c.kv_heads
        # Heads that share keys become rows of one product: keys and values are never repeated.
        q = (q * c.head_dim**-0.5).reshape(c.kv_heads, groups * length, c.head_dim)
        scores = (q @ keys.transpose(1, 2)).view(c.kv_heads, groups, length, -1) + mask
        shares = scores.float().softmax(-1).to(x.dtype).view(c.kv_heads, groups * length, -1)
        y = (shares @ values).view(c.heads, length, c.head_dim).transpose(0, 1)
        return self.o_proj(y.reshape(1, length, c.heads * c.head_dim)), keys, values


class CachedLayer(Layer):
    """Pre-norm decoder layer over a cache."""

    def __init__(self, c: TextConfig):
        super().__init__(c)
        self.self_attn = CachedAttention(c)


class Generator(Decoder):
    """All layers, the final norm and the scores of every token of the vocabulary."""

    def __init__(self, c: TextConfig, deepstack: int):
        super().__init__(c, 0, True, deepstack, False)
        self.layers = nn.ModuleList(CachedLayer(c) for _ in range(c.layers))
        if not c.tied:
            self.lm_head = Table(c.vocabulary, c.hidden)

    def forward(self, input_ids, image_embeds, image_rows, position_ids, *more):
        """`input_ids` [1, S], `image_embeds` [N, hidden], `image_rows` [N] (row S: nowhere), `position_ids` [3, 1, S];
        where there are any `deepstack` [D, N, hidden]; `start` [1], how many tokens are in the cache; keys and values
        of each layer. -> logits [1, vocabulary] of the last token, keys and values."""
        levels, start, caches = (*more[:1], more[1], more[2:]) if self.deepstack else (None, more[0], more[1:])
        dtype = self.embed_tokens.weight.dtype
        # One row more than there are tokens: image tokens of another part of the prompt go there.
        nowhere = self.embed_tokens.weight.new_zeros(1, self.config.hidden)
        x = torch.cat((self.embed_tokens(input_ids)[0], nowhere))
        image = lambda base, values: base.index_put((image_rows,), values.to(dtype))[:-1][None]
        blank = torch.zeros_like(x)
        x = image(x, image_embeds)
        cos, sin = (t.to(dtype) for t in self.rope(position_ids))
        rows = start + torch.arange(input_ids.shape[1], device=start.device)
        order = torch.arange(caches[0].shape[1], device=start.device)
        zero = torch.zeros((), dtype=dtype, device=start.device)
        never = torch.full((), float("-inf"), dtype=dtype, device=start.device)
        mask = torch.where(order[None, :] <= rows[:, None], zero, never)
        places = (torch.arange(self.config.kv_heads, device=start.device)[:, None], rows[None, :])
        out = []

        def run(i, layer, x, h):
            x, y, keys, values = layer(x, h, cos, sin, mask, places, caches[2 * i], caches[2 * i + 1])
            out.extend((keys, values))
            return x, y

        x, y = self.stack(x, [image(blank, levels[i]) for i in range(self.deepstack)], run)
        last = self.norm.after(x[:, -1:], y[:, -1:])[0][0]
        table = self.embed_tokens if self.config.tied else self.lm_head
        # The table from the left, as it is stored: transposed it would be a second copy.
        logits = (table.weight @ last.transpose(0, 1)).transpose(0, 1)
        return logits.float(), *out


def cache_names(c: TextConfig) -> tuple[str, ...]:
    """Names of the cache's tensors without `past.` or `present.`, in the order of the graph."""
    return tuple(f"{part}{n}" for n in range(c.layers) for part in "kv")
