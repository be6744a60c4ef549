"""AFA and CPFEAN as one would write them in PyTorch, to be timed beside ours; parameters are named as ours are.

The arithmetic is the same: all pairs at once, CPFEAN in its factored form. Only the defaults of the config are here.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from itm_jax.bench.pytorch.bert import Attention, Bert

EPS = 1e-6
NEG = -1e9


class Enhancement(nn.Module):
    """A linear layer plus an MLP, with BatchNorm over the valid rows."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.linear, self.mlp_in = nn.Linear(features, width), nn.Linear(features, width // 2)
        self.mlp_norm, self.mlp_out = nn.BatchNorm1d(width // 2), nn.Linear(width // 2, width)

    def forward(self, rows, mask):
        """Returns [b, n, d] of rows [b, n, f], 0 where invalid."""
        hidden = self.mlp_in(rows)
        normed = torch.zeros_like(hidden)
        normed[mask] = F.relu(self.mlp_norm(hidden[mask]))
        return (self.linear(rows) + self.mlp_out(normed)) * mask[..., None]


def aggregate(rows, mask, ratio: float, shuffle: bool):
    """Merges the most similar pairs of rows of each item, sources into destinations; returns rows and mask."""
    b, n, d = rows.shape
    rows, count, slot = F.normalize(rows, dim=-1), mask.sum(1, keepdim=True), torch.arange(n, device=rows.device)[None]
    priority = torch.rand(b, n, device=rows.device) if shuffle else ((mask.cumsum(1) - 1) % 2).float()
    order = (priority + 2.0 * ~mask).argsort(dim=1, stable=True)
    rows = rows.gather(1, order[..., None].expand(b, n, d))
    sources = count // 2 if shuffle else count - count // 2
    valid, is_source = slot < count, slot < sources
    k = torch.minimum((ratio * count + 1e-6).floor().long(), sources)
    fixed = rows.detach()
    cosine = (fixed @ fixed.mT).masked_fill(~(is_source[:, :, None] & (valid & ~is_source)[:, None]), NEG)
    closeness, partner = cosine.max(dim=2)
    place = closeness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    merged = is_source & (place < k)
    into = torch.zeros_like(cosine).scatter_(2, partner[..., None], 1.0) * merged[..., None]
    rows = (rows + into.mT @ rows) / (1 + into.sum(1))[..., None]
    kept = valid & ~merged
    return rows * kept[..., None], kept


class Branch(nn.Module):
    """Turns the rows of a modality into one unit vector per item."""

    def __init__(self, features: int, c):
        super().__init__()
        self.enhancement, self.aggregation = Enhancement(features, c.width), c.aggregation

    def forward(self, rows, mask):
        """Returns [b, d] of rows [b, n, f]."""
        rows = self.enhancement(rows, mask)
        if self.aggregation.enabled:
            rows, mask = aggregate(rows, mask, self.aggregation.ratio, self.aggregation.shuffle)
        return F.normalize(rows.masked_fill(~mask[..., None], NEG).amax(1), dim=-1)


class AFA(nn.Module):
    """AFA, which returns scores [b, b] and the image and caption vectors for the mixed negatives."""

    def __init__(self, c, encoder, features: int, **_):
        super().__init__()
        self.text_encoder = Bert(encoder) if c.text.trainable else None
        self.image_branch, self.text_branch = Branch(features, c), Branch(c.text.hidden_size, c)

    def forward(self, x):
        """x: the batch as tensors by name."""
        states = x["states"] if self.text_encoder is None else self.text_encoder(x["ids"], x["tokens"])
        images, captions = self.image_branch(x["features"], x["regions"]), self.text_branch(states, x["tokens"])
        return images @ captions.T, images, captions


class VisualLayer(Attention):
    """A pre-norm Transformer layer over neighbouring regions."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__(width, heads)
        self.attention_norm, self.feed_norm = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.feed_in, self.feed_out, self.drop = (
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x, near):
        """Returns [b, r, d] of x [b, r, d] and near [b, r, r]."""
        x = x + self.drop(super().forward(self.attention_norm(x), near[:, None]))
        return x + self.drop(self.feed_out(F.gelu(self.feed_in(self.feed_norm(x)), approximate="tanh")))


class RegionEmbedding(nn.Module):
    """Embeds the features, the box code and the label of a region."""

    def __init__(self, features: int, width: int, labels: int, bank):
        super().__init__()
        self.features, self.boxes = nn.Linear(features, width), nn.Linear(7, width, bias=False)
        self.label_table = nn.Parameter(torch.zeros(labels, width)) if labels else None
        self.register_buffer("bank", bank)
        self.labels = nn.Linear(width if labels else bank.shape[1], width, bias=False)
        self.norm = nn.LayerNorm(width, EPS)

    def forward(self, features, boxes, labels):
        """Returns [b, r, d]."""
        size = boxes[..., 2:] - boxes[..., :2]
        code = torch.cat([boxes, size, size.prod(-1, keepdim=True)], -1)
        bank = self.bank if self.label_table is None else F.pad(self.label_table, (0, 0, 1, 0))
        return self.norm(self.features(features) + self.boxes(code) + self.labels(bank)[labels])


class Layers(nn.Module):
    """Holds layers by name."""

    def __init__(self, layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class CPFEAN(nn.Module):
    """CPFEAN, which returns scores [b, b] in the factored form."""

    def __init__(self, c, encoder, features: int, bank=None):
        super().__init__()
        d, self.c = c.width, c
        self.text_encoder = Bert(encoder) if c.text.trainable else None
        self.region_embedding = RegionEmbedding(features, d, len(c.regions.label_names), bank)
        layers = {f"layer_{i}": VisualLayer(d, c.graph.heads, c.graph.dropout) for i in range(c.graph.layers)}
        self.visual_transformer = Layers(layers)
        self.word_projection = nn.Linear(c.text.hidden_size, d)
        names = [f"{name}_{i}" for i in range(c.words.layers) for name in ("query", "key", "weight")]
        self.word_gcn = Layers({name: nn.Linear(d, d, bias=False) for name in names})
        for name, shape in (("gate_u", (d,)), ("gate_z", (d,)), ("gate_c", ()), ("gate_b", ())):
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def neighbours(self, boxes, mask):
        """Returns [b, r, r]: which valid regions overlap enough."""
        low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
        inside = (torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:]) - low).clamp_min(0).prod(-1)
        area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
        iou = inside / (area[:, :, None] + area[:, None] - inside + EPS)
        near = (iou > self.c.graph.iou) | torch.eye(boxes.shape[1], dtype=torch.bool, device=boxes.device)
        return near & mask[:, :, None] & mask[:, None]

    def forward(self, x):
        """x: the batch as tensors by name."""
        v = self.region_embedding(x["features"], x["boxes"], x["labels"])
        if self.c.graph.layers:
            near = self.neighbours(x["boxes"], x["regions"])
            near = near | ~near.any(-1, keepdim=True)  # a row without neighbours would become NaN
            for layer in self.visual_transformer.children():
                v = layer(v, near)
        v = F.normalize(v, dim=-1) * x["regions"][..., None]
        states = x["states"] if self.text_encoder is None else self.text_encoder(x["ids"], x["tokens"])
        words = x["words"]
        h = self.word_projection(states) * words[..., None]
        for i in range(self.c.words.layers):
            query, key, weight = (getattr(self.word_gcn, f"{name}_{i}") for name in ("query", "key", "weight"))
            logits = query(h) @ key(h).mT * h.shape[-1] ** -0.5
            mixed = logits.masked_fill(~words[:, None], NEG).softmax(-1) @ h
            h = (h + F.relu(weight(mixed))) * words[..., None]
        h = F.normalize(h, dim=-1) * words[..., None]
        return self.score(v, x["regions"], h, words, x.get("prior")), None, None

    def score(self, v, regions, w, words, prior=None):
        """Returns [i, t], the scores of all pairs: fusion, then prominent-fragment alignment.

        `prior` [t, l] are the words' weights of the corpus prior, where γ > 0.
        """
        products, among = torch.einsum("ird,tld->irtl", v, w), w @ w.mT
        square = (v * v).sum(-1)[:, :, None].expand(products.shape[:3])
        logit = (v @ self.gate_u)[:, :, None]
        z, u, word_square = w @ self.gate_z, w @ self.gate_u, (w * w).sum(-1)
        t = torch.arange(len(w), device=v.device)[None, None]
        valid = regions[:, :, None] & words.any(1)[None, None]
        first: tuple[torch.Tensor, torch.Tensor] | None = None
        for _ in range(self.c.fusion.rounds):
            chosen = products.detach().masked_fill(~words[None, None], NEG).argmax(-1)
            product = products.gather(-1, chosen[..., None])[..., 0]
            cosine = product * (square + EPS**2).rsqrt()
            opening = logit + z[t, chosen] + self.gate_c * cosine + self.gate_b
            g = torch.sigmoid(opening) * valid
            first = first or (F.logsigmoid(opening).masked_fill(~valid, NEG).softmax(1) * valid, chosen)
            products = products + g[..., None] * among[t, chosen]
            square = (square + g * (2 * product + g * word_square[t, chosen])).clamp_min(0)
            logit = logit + g * u[t, chosen]
        assert first is not None  # there is at least one round: `step.check` refuses a config without fusion
        relevance, chosen = first
        cosines = products * (square + EPS**2).rsqrt()[..., None]
        beta, (images, _, captions) = self.c.alignment.beta, relevance.shape
        named = relevance.new_zeros(images, captions, w.shape[1]).scatter_add(
            2, chosen.transpose(1, 2), relevance.transpose(1, 2)
        )
        n = words.sum(1).clamp_min(1)[None, :, None]
        share = torch.where((relevance > 0).any(1)[..., None], named, 1 / n)
        weights = (1 + beta * n * share) / (n * (1 + beta)) * words[None]
        if prior is not None:
            prior = prior / prior.amax(-1, keepdim=True).clamp_min(EPS)
            weighed = weights * prior[None] ** self.c.alignment.gamma
            weights = weighed * (weights.sum(-1, keepdim=True) / (weighed.sum(-1, keepdim=True) + EPS))
        word_score = (weights * cosines.masked_fill(~regions[:, :, None, None], NEG).amax(1)).sum(-1)
        best = cosines.masked_fill(~words[None, None], NEG).amax(-1)
        return (word_score + (relevance * best).sum(1)) / 2


MODELS: dict[str, Callable[..., nn.Module]] = {"afa": AFA, "cpfean": CPFEAN}
