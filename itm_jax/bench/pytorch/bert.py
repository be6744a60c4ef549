"""BERT in PyTorch, for the models that are timed beside ours; parameters are named as ours are."""

from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention with PyTorch's fused function; `mask` is True where attention may go."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask):
        """Returns [b, n, width] of x [b, n, width]; `mask` is broadcast to [b, heads, n, n]."""
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.output(y.transpose(1, 2).flatten(2))


class BertLayer(nn.Module):
    """A post-norm Transformer layer."""

    def __init__(self, c):
        super().__init__()
        self.attention = Attention(c.hidden_size, c.num_heads, c.dropout)
        self.attention_norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.intermediate = nn.Linear(c.hidden_size, c.intermediate_size)
        self.output = nn.Linear(c.intermediate_size, c.hidden_size)
        self.output_norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x, mask):
        """Returns [b, l, e] of x [b, l, e]."""
        x = self.attention_norm(x + self.dropout(self.attention(x, mask)))
        return self.output_norm(x + self.dropout(self.output(F.gelu(self.intermediate(x)))))


class Bert(nn.Module):
    """A BERT encoder, which returns its last hidden states."""

    def __init__(self, c):
        super().__init__()
        self.word, self.position = (
            nn.Embedding(c.vocab_size, c.hidden_size),
            nn.Embedding(c.max_positions, c.hidden_size),
        )
        self.types, self.norm = (
            nn.Embedding(c.type_vocab_size, c.hidden_size),
            nn.LayerNorm(c.hidden_size, c.layer_norm_eps),
        )
        self.dropout, self.layers = nn.Dropout(c.dropout), c.num_layers
        for i in range(c.num_layers):
            self.add_module(f"layer_{i}", BertLayer(c))

    def forward(self, ids, mask):
        """Returns [b, l, e] of ids and mask [b, l]."""
        x = self.word(ids) + self.position.weight[None, : ids.shape[1]] + self.types.weight[0]
        x = self.dropout(self.norm(x))
        for i in range(self.layers):
            x = getattr(self, f"layer_{i}")(x, mask[:, None, None])
        return x
