"""The networks of itmAFA and VSE∞ in plain PyTorch, item by item; the layers have the names of their checkpoints."""

import argparse
import math

import torch
import transformers
from torch import nn


class Mlp(nn.Module):
    """Two layers. The second BatchNorm is in the checkpoints, and is never used."""

    def __init__(self, features, width):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(features, width // 2), nn.Linear(width // 2, width)])
        self.bns = nn.ModuleList([nn.BatchNorm1d(width // 2), nn.BatchNorm1d(width)])

    def forward(self, rows):
        hidden = self.layers[0](rows)
        hidden = self.bns[0](hidden.flatten(0, 1)).reshape(hidden.shape)
        return self.layers[1](torch.relu(hidden))


class Gpool(nn.Module):
    """GPO: a BiGRU over the codes of positions weighs the sorted values."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(32, 32, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(32, 1, bias=False)

    def forward(self, rows, lengths):
        return torch.stack([self.pool(item[:n]) for item, n in zip(rows, lengths, strict=True)])

    def pool(self, rows):
        place = torch.arange(len(rows))[:, None] * torch.exp(torch.arange(0, 32, 2) * (-math.log(1e4) / 32))[None]
        code = torch.stack([place.sin(), place.cos()], dim=-1).flatten(1)
        both = self.gru(code[None])[0][0].unflatten(1, (2, 32)).mean(1)
        weights = torch.softmax(self.linear(both)[:, 0] * 10, dim=0)
        return weights @ rows.sort(dim=0, descending=True).values


class Merge(nn.Module):
    """itmAFA: of each item the k most similar rows of even place go into rows of odd place; then the maximum."""

    def forward(self, rows, lengths):
        k = min(rows.shape[1] // 20, min(lengths) // 2)
        return torch.stack([self.pool(item, n, k) for item, n in zip(unit(rows), lengths, strict=True)])

    def pool(self, rows, n, k):
        groups = [[row] for row in rows[1::2]]
        kept = list(rows[::2])
        if k:
            best = (rows[::2] @ rows[1::2].T).max(dim=1)
            order = best.values.argsort(descending=True).tolist()
            for source in order[:k]:
                groups[best.indices[source]].append(rows[2 * source])
            kept = [rows[2 * source] for source in order[k:]]
        return torch.stack([*kept, *(torch.stack(group).mean(0) for group in groups)][: n - k]).amax(0)


def unit(x):
    return x / (x.norm(dim=-1, keepdim=True) + 1e-8)


class ImageEncoder(nn.Module):
    def __init__(self, features, width, kind):
        super().__init__()
        self.fc = nn.Linear(features, width)
        self.mlp = Mlp(features, width)
        self.gpool = Gpool() if kind == "vse_infty" else Merge()

    def forward(self, rows, lengths):
        return unit(self.gpool(self.fc(rows) + self.mlp(rows), lengths))


class TextEncoder(nn.Module):
    def __init__(self, bert, width, kind):
        super().__init__()
        self.bert = transformers.BertModel(bert)
        self.linear = nn.Linear(bert.hidden_size, width)
        self.gpool = Gpool() if kind == "vse_infty" else Merge()

    def forward(self, ids, lengths):
        states = self.bert(ids, attention_mask=(ids != 0).float()).last_hidden_state
        return unit(self.gpool(self.linear(states), lengths))


def networks(kind, bert, *, features=10, width=16):
    """Random networks of images and of captions, in evaluation; every number differs from its first value."""
    torch.manual_seed(0)
    encoders = ImageEncoder(features, width, kind), TextEncoder(bert, width, kind)
    with torch.no_grad():
        for encoder in encoders:
            for value in (*encoder.parameters(), *encoder.buffers()):
                if value.is_floating_point():
                    value.add_(torch.rand_like(value) * 0.3)
    return [encoder.eval() for encoder in encoders]


def checkpoint_of(encoders, *, parallel=False, **options):
    """What their train.py saves."""
    if parallel:
        encoders = [nn.DataParallel(encoder) for encoder in encoders]
    opt = {
        "embed_size": 16, "img_dim": 10, "precomp_enc_type": "basic", "no_imgnorm": False, "no_txtnorm": False,
        "data_name": "f30k_precomp", "batch_size": 25, "learning_rate": 5e-4, "resume": "",
    }  # fmt: skip
    states = [encoder.state_dict() for encoder in encoders]
    opt = argparse.Namespace(**(opt | options))
    return {"epoch": 7, "model": states, "best_rsum": 500.5, "opt": opt, "Eiters": 1234}
