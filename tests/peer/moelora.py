"""MoELoRA as CoIN's authors wrote it: for each linear a loop over the experts, each output at full width, scaled and gated."""

import torch
from torch import nn


class Experts(nn.Module):
    """`W x + sum over i of softmax(R x)_i * alpha / r * B_i A_i dropout(x)` (arXiv 2403.08350, section 4)."""

    def __init__(self, base, r, alpha, experts, dropout=0.0):
        super().__init__()
        self.base, self.scaling, each = base, alpha / r, r // experts
        self.router = nn.Linear(base.in_features, experts, bias=False)
        self.down = nn.ModuleList(nn.Linear(base.in_features, each, bias=False) for _ in range(experts))
        self.up = nn.ModuleList(nn.Linear(each, base.out_features, bias=False) for _ in range(experts))
        self.dropout = nn.Dropout(dropout)
        for down, up in zip(self.down, self.up):
            nn.init.normal_(down.weight, mean=0.0, std=0.01)
            nn.init.zeros_(up.weight)

    def forward(self, x):
        result = self.base(x)
        gate = torch.softmax(self.router(x), dim=-1)
        for expert, (down, up) in enumerate(zip(self.down, self.up)):
            result = result + up(down(self.dropout(x))) * self.scaling * gate[..., expert].unsqueeze(-1)
        return result


def with_moelora(model, modules, r, alpha, experts=8, seed=0, dropout=0.0):
    """MoELoRA on the named linears of the language model; everything else is frozen."""
    torch.manual_seed(seed)
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if "language_model" in name and name.rsplit(".", 1)[-1] in modules:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, Experts(module, r, alpha, experts, dropout))
    return model
