"""The method in plain PyTorch, over the real transformers encoders: what the worker is held against.

Everything is written for reading, not for speed: an encoder in eager mode, PEFT modules put in place of its
linears, a head on the first token, the two defence terms, AdamW with clipping and the linear schedule.

A PEFT method is one entry of METHODS: a function that attaches itself to an encoder and returns
{name: parameter}. Names are those of the encoder's own modules ("encoder.layer.0.attention.self.query.lora_A"),
so that they say where the tensor acts.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import AutoModel


@dataclass
class Loss:
    """One batch's loss and its terms; `amplify` and `attention` are the terms before their weights."""

    total: torch.Tensor
    ce: torch.Tensor
    amplify: torch.Tensor
    attention: torch.Tensor


@dataclass
class Defense:
    amplify: float = 0.0
    attention: float = 0.0
    reduction: str = "mean"
    dropout: float = 0.0


@dataclass
class Peft:
    type: str = "lora"
    options: dict = field(default_factory=lambda: {"r": 16, "alpha": 16})

    def request(self):
        """What the probe is told."""
        return {"peft": self.type, **{name: value for name, value in self.options.items() if name != "targets"}}


# --- PEFT methods -----------------------------------------------------------------------------------


class LoraLinear(nn.Module):
    """y = W x + b + alpha / r * B (A x); the defence's dropout is on the whole output."""

    def __init__(self, base, r, alpha, dropout):
        super().__init__()
        self.base = base
        self.scale = alpha / r
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.base(x) + self.scale * ((x @ self.lora_A.T) @ self.lora_B.T))


def attach_lora(encoder, dropout, r=16, alpha=16, targets=("query", "value")):
    tensors = {}
    for i, layer in enumerate(encoder.encoder.layer):
        attention = layer.attention.self
        for target in targets:
            site = LoraLinear(getattr(attention, target), r, alpha, dropout)
            setattr(attention, target, site)
            prefix = f"encoder.layer.{i}.attention.self.{target}"
            tensors[f"{prefix}.lora_A"] = site.lora_A
            tensors[f"{prefix}.lora_B"] = site.lora_B
    return tensors


ACTIVATIONS = {"silu": nn.functional.silu, "gelu": nn.functional.gelu, "relu": torch.relu, "tanh": torch.tanh}


class Adapter(nn.Module):
    """y = x + up(act(down(x))), with its own residual."""

    def __init__(self, hidden, bottleneck, activation, dtype):
        super().__init__()
        self.adapter_down = nn.Linear(hidden, bottleneck, dtype=dtype)
        self.adapter_up = nn.Linear(bottleneck, hidden, dtype=dtype)
        self.activation = ACTIVATIONS[activation]
        for linear in (self.adapter_down, self.adapter_up):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x):
        return x + self.adapter_up(self.activation(self.adapter_down(x)))


class AdaptedOutput(nn.Module):
    """In place of an output block: LayerNorm(adapter(dropout(dense(x))) + residual), then the defence's dropout."""

    def __init__(self, base, adapter, dropout):
        super().__init__()
        self.base, self.adapter = base, adapter
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, residual):
        dense = self.base.dropout(self.base.dense(x))
        return self.dropout(self.base.LayerNorm(self.adapter(dense) + residual))


def attach_adapter(encoder, dropout, bottleneck=None, activation="silu"):
    hidden = encoder.config.hidden_size
    tensors = {}
    for i, layer in enumerate(encoder.encoder.layer):
        for owner, place in ((layer.attention, "attention.output"), (layer, "output")):
            adapter = Adapter(hidden, bottleneck or hidden // 16, activation, encoder.dtype)
            owner.output = AdaptedOutput(owner.output, adapter, dropout)
            for name, parameter in adapter.named_parameters():
                tensors[f"encoder.layer.{i}.{place}.{name}"] = parameter
    return tensors


class Prefix(nn.Module):
    """wte -> linear -> act -> linear: keys and values of every layer, [P, 2 L D], drawn out anew per sequence."""

    def __init__(self, config, length, mlp_width, activation, dropout, dtype):
        super().__init__()
        width = 2 * config.num_hidden_layers * config.hidden_size
        self.wte = nn.Embedding(length, config.hidden_size, dtype=dtype)
        self.first = nn.Linear(config.hidden_size, mlp_width, dtype=dtype)
        self.second = nn.Linear(mlp_width, width, dtype=dtype)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)
        self.shape = (length, config.num_hidden_layers, 2, config.num_attention_heads, -1)

    def tensors(self):
        linears = {"control_trans.0": self.first, "control_trans.2": self.second}
        named = {f"{place}.{name}": p for place, linear in linears.items() for name, p in linear.named_parameters()}
        return {f"prefix.{name}": p for name, p in {"wte.weight": self.wte.weight, **named}.items()}

    def forward(self, rows):
        """[layers, 2, rows, heads, P, d]"""
        flat = self.second(self.activation(self.first(self.wte.weight)))
        flat = self.dropout(flat.expand(rows, *flat.shape))
        return flat.reshape(rows, *self.shape).permute(2, 3, 0, 4, 1, 5)


class PrefixedAttention(nn.Module):
    """In place of self-attention: with the layer's prefix in front of keys and values, which no mask hides."""

    def __init__(self, base, prefix, config, layer):
        super().__init__()
        self.query, self.key, self.value = base.query, base.key, base.value
        self.dropout = base.dropout
        self.prefix, self.layer = prefix, layer
        self.heads = config.num_attention_heads
        self.width = config.hidden_size // self.heads
        self.attend = self.fused if config._attn_implementation == "sdpa" else self.eager
        self.prefix_keys = None

    def split(self, x):
        return x.unflatten(-1, (self.heads, self.width)).transpose(1, 2)

    def eager(self, q, k, v, mask):
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.width)
        return self.dropout((scores if mask is None else scores + mask).softmax(-1)) @ v

    def fused(self, q, k, v, mask):
        dropout = self.dropout.p if self.training else 0.0
        return nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout)

    def forward(self, x, attention_mask=None, *_args, **_more):
        keys, values = self.prefix.of_batch(self.layer, x.shape[0])
        self.prefix_keys = keys
        k = torch.cat([keys, self.split(self.key(x))], 2)
        v = torch.cat([values, self.split(self.value(x))], 2)
        mask = attention_mask
        if mask is not None:  # True or + 0: seen
            mask = nn.functional.pad(mask, (keys.shape[2], 0), value=mask.dtype == torch.bool)
        out = self.attend(self.split(self.query(x)), k, v, mask)
        return out.transpose(1, 2).flatten(2), None


class PrefixPool:
    """One pass's prefix, computed where the first layer asks for it."""

    def __init__(self, prefix):
        self.prefix, self.current = prefix, None

    def of_batch(self, layer, rows):
        if layer == 0:
            self.current = self.prefix(rows)
        return self.current[layer]


def attach_prefix(encoder, dropout, length=30, mlp_width=256, activation="tanh"):
    prefix = Prefix(encoder.config, length, mlp_width, activation, dropout, encoder.dtype)
    encoder.prefix = prefix  # so that train() and eval() reach its dropout
    pool = PrefixPool(prefix)
    for i, layer in enumerate(encoder.encoder.layer):
        layer.attention.self = PrefixedAttention(layer.attention.self, pool, encoder.config, i)
    return prefix.tensors()


METHODS = {"lora": attach_lora, "adapter": attach_adapter, "prefix": attach_prefix}
UNAMPLIFIED = {"prefix.wte.weight"}
OPTIONS = {
    "lora": {"r": 16, "alpha": 16},
    "adapter": {"bottleneck": 5, "activation": "silu"},
    "prefix": {"length": 7, "mlp_width": 24, "activation": "tanh"},
}


# --- model ------------------------------------------------------------------------------------------


class Head(nn.Module):
    """dropout, dense, tanh, dropout, out on the first token."""

    def __init__(self, hidden, labels, dropout):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, labels)
        for linear in (self.dense, self.out):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x):
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(x)))))


def load_encoder(directory, dtype=torch.float32):
    """The encoder alone (no pooler), weights converted to dtype, eager attention, frozen, dropout off."""
    encoder = AutoModel.from_pretrained(
        directory, dtype=dtype, attn_implementation="eager", add_pooling_layer=False, local_files_only=True
    )
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    return encoder.eval()


def classifier_dropout(config):
    value = getattr(config, "classifier_dropout", None)
    return config.hidden_dropout_prob if value is None else value


class Classifier(nn.Module):
    """Frozen encoder + PEFT + head, dropout off until train(). forward gives logits, and keeps what each layer's
    first-token scores are made of."""

    def __init__(self, encoder, labels, peft=None, defense=None):
        super().__init__()
        self.encoder = encoder
        self.defense = defense or Defense()
        self.peft = peft = peft or Peft()
        self.peft_tensors = METHODS[peft.type](encoder, self.defense.dropout, **peft.options)
        hidden = encoder.config.hidden_size
        self.head = Head(hidden, labels, classifier_dropout(encoder.config)).to(encoder.dtype)
        self.queries = [None] * len(encoder.encoder.layer)
        self.keys = [None] * len(encoder.encoder.layer)
        self._watch_scores()
        self.eval()

    def _watch_scores(self):
        def watch(store, i):
            def hook(_module, _inputs, output):
                store[i] = output

            return hook

        for i, layer in enumerate(self.encoder.encoder.layer):
            layer.attention.self.query.register_forward_hook(watch(self.queries, i))
            layer.attention.self.key.register_forward_hook(watch(self.keys, i))

    def tensors(self):
        """Every trained tensor by name, PEFT first."""
        head = {f"head.{name}": parameter for name, parameter in self.head.named_parameters()}
        return {**self.peft_tensors, **head}

    def set_tensors(self, values):
        own = self.tensors()
        assert own.keys() == values.keys(), own.keys() ^ values.keys()
        with torch.no_grad():
            for name, value in values.items():
                own[name].copy_(value)

    def hidden_states(self, batch):
        """Of the embeddings and of every layer: a list of [B, T, D]."""
        return self.encoder(**batch, output_hidden_states=True).hidden_states

    def forward(self, batch):
        return self.head(self.encoder(**batch).last_hidden_state[:, 0])

    def first_token_scores(self, i):
        """q_cls . k / sqrt(d) of layer i, before softmax, prefix columns first: [B, heads, P + T]."""
        config = self.encoder.config
        heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        query = self.queries[i][:, 0].unflatten(-1, (heads, width))
        key = self.keys[i].unflatten(-1, (heads, width))
        prefix = getattr(self.encoder.encoder.layer[i].attention.self, "prefix_keys", None)
        if prefix is not None:
            key = torch.cat([prefix.transpose(1, 2), key], 1)
        return torch.einsum("bhd,bthd->bht", query, key) / math.sqrt(width)

    def loss(self, batch, labels):
        logits = self(batch)
        ce = nn.functional.cross_entropy(logits, labels)
        amplify = amplify_term(t for name, t in self.peft_tensors.items() if name not in UNAMPLIFIED)
        scores = [self.first_token_scores(i) for i in range(len(self.queries))]
        prefixed = scores[0].shape[-1] - batch["attention_mask"].shape[-1]
        visible = nn.functional.pad(batch["attention_mask"], (prefixed, 0), value=1)
        attention = attention_term(scores, visible, self.defense.reduction)
        total = ce + self.defense.amplify * amplify + self.defense.attention * attention
        return Loss(total, ce, amplify, attention)


# --- the two terms ----------------------------------------------------------------------------------


def norm(x, dim=None):
    """Euclidean norm whose gradient at 0 is 0."""
    square = x.square().sum() if dim is None else x.square().sum(dim)
    safe = torch.where(square > 0, square, torch.ones_like(square))
    return torch.where(square > 0, safe.sqrt(), torch.zeros_like(square))


def amplify_term(tensors):
    """- sum over tensors of ||theta||."""
    return -sum(norm(tensor) for tensor in tensors)


def attention_term(scores, mask, reduction):
    """Mean (or sum) over layers, sequences and heads of || first-token scores over the unmasked keys ||."""
    visible = mask[:, None, :].bool()
    norms = torch.stack([norm(torch.where(visible, s, torch.zeros_like(s)), -1) for s in scores])
    return norms.mean() if reduction == "mean" else norms.sum()


# --- batches and training ---------------------------------------------------------------------------


def collate(rows, config, pad_to=None):
    """Token id lists (or (ids, second) pairs: second = first index of type 1) to padded tensors with a mask."""
    rows = [row if isinstance(row, tuple) else (row, len(row)) for row in rows]
    width = pad_to or max(len(ids) for ids, _ in rows)
    input_ids = torch.full((len(rows), width), config.pad_token_id or 0)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    types = torch.zeros(len(rows), width, dtype=torch.long)
    for i, (ids, second) in enumerate(rows):
        input_ids[i, : len(ids)] = torch.tensor(ids)
        mask[i, : len(ids)] = 1
        types[i, second : len(ids)] = 1
    if config.model_type == "roberta":
        types.zero_()
    return {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": types}


def schedule(step, steps, warmup_ratio):
    """The factor on the learning rate at step 0 .. steps - 1 (get_linear_schedule_with_warmup)."""
    warmup = math.ceil(warmup_ratio * steps)
    if step < warmup:
        return step / max(1, warmup)
    return max(0.0, (steps - step) / max(1, steps - warmup))


class Trainer:
    """AdamW, clipping at norm 1 over PEFT and head, linear schedule; one call is one step."""

    def __init__(self, model, steps, learning_rate, warmup_ratio):
        self.model = model
        self.parameters = list(model.tensors().values())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, weight_decay=0.0)
        self.rate = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: schedule(step, steps, warmup_ratio)
        )

    def step(self, batch, labels):
        learning_rate = self.rate.get_last_lr()[0]
        self.optimizer.zero_grad()
        loss = self.model.loss(batch, labels)
        loss.total.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.rate.step()
        return {
            "loss": loss.total.item(),
            "ce": loss.ce.item(),
            "amplify": loss.amplify.item(),
            "attention": loss.attention.item(),
            "learning_rate": learning_rate,
            "grad_norm": grad_norm.item(),
        }
