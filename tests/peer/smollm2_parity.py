#!/usr/bin/env python3
"""Compare coin-host's small model with PyTorch and transformers.

  smollm2_parity.py MODEL VISION_PTH DATA IMAGES LOGITS

MODEL is the folder that `coin-host model fetch smollm2` wrote, VISION_PTH the published weights of EfficientNet-Lite0, DATA and IMAGES
what `coin-host model logits` was given, LOGITS what it wrote. The tower is computed here from the published file, batch normalisation
and all; the language model is transformers' LlamaForCausalLM. Both are float32; the same in float64 says how much of a difference is
rounding, and whose. Every picture is also classified by the published head.
"""

import copy
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]


def same(x, weight, stride, groups=1):
    """A convolution with TensorFlow's padding SAME."""
    kernel = weight.shape[-1]
    missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]]
    down, across = missing
    x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
    return F.conv2d(x, weight, stride=stride, groups=groups)


def tower(p, x):
    def norm(x, name):
        part = [p[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *part, eps=1e-3)

    x = F.relu6(norm(same(x, p["_conv_stem.weight"], 2), "_bn0"))
    block, width = 0, 32
    for repeats, _, first, expansion, to in STAGES:
        for repeat in range(repeats):
            stride, path, before = (first if repeat == 0 else 1), f"_blocks.{block}", x
            if expansion > 1:
                x = F.relu6(norm(same(x, p[f"{path}._expand_conv.weight"], 1), f"{path}._bn0"))
            x = F.relu6(norm(same(x, p[f"{path}._depthwise_conv.weight"], stride, x.shape[1]), f"{path}._bn1"))
            x = norm(same(x, p[f"{path}._project_conv.weight"], 1), f"{path}._bn2")
            if stride == 1 and width == to:
                x = x + before
            block, width = block + 1, to
    return F.relu6(norm(same(x, p["_conv_head.weight"], 1), "_bn1"))


def pixels(path):
    image = Image.open(path).convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((224 * width // short, 224 * height // short), Image.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    image = image.crop((left, top, left + 224, top + 224))
    values = torch.tensor(list(image.getdata()), dtype=torch.float32).view(224, 224, 3)
    return ((values - 127) / 128).permute(2, 0, 1)[None]


def projected(tensors, grid):
    """Visual tokens `[N, d]` of a grid `[1, C, H, W]`."""

    def linear(x, number):
        path = f"multi_modal_projector.linear_{number}"
        return F.linear(x, tensors[f"{path}.weight"], tensors[f"{path}.bias"])

    return linear(F.gelu(linear(grid.flatten(2).transpose(1, 2), 1)), 2)[0]


def exact(language):
    """The same weights in float64, and everything that transformers computes in float32 whatever the weights are in float64 too."""

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    def rotary(self, x, position_ids):
        size, theta = self.config.head_dim, self.config.rope_parameters["rope_theta"]
        inverse = 1 / theta ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles = (position_ids[:, :, None].double() * inverse).repeat(1, 1, 2)
        return angles.cos(), angles.sin()

    language = copy.deepcopy(language).double()
    for module in language.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = norm.__get__(module)
        if type(module).__name__ == "LlamaRotaryEmbedding":
            module.forward = rotary.__get__(module)
    return language


def apart(a, b):
    return (a - b).abs().max().item()


@torch.no_grad()
def main(model, vision, data, images, logits):
    config = json.loads((Path(model) / "config.json").read_text())
    tensors = {name: tensor.float() for name, tensor in load_file(Path(model) / "model.safetensors").items()}
    prefix = "language_model."
    language = LlamaForCausalLM(LlamaConfig(**config["text_config"])).eval()
    missing = language.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}, strict=False)
    assert missing.missing_keys == ["lm_head.weight"] and not missing.unexpected_keys, missing
    language.tie_weights()
    exactly = exact(language)
    published = torch.load(vision, weights_only=True)
    published_exactly = {name: tensor.double() for name, tensor in published.items()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(model) / "tokenizer.json"))
    ours = load_file(logits)
    for record in json.loads(Path(data).read_text()):
        ids = ours[f"{record['id']}.input_ids"]
        embedded = language.get_input_embeddings()(ids)
        embedded_exactly = embedded.double()
        if "image" in record:
            grid = tower(published, pixels(Path(images) / record["image"]))
            scores = F.linear(grid.mean((2, 3)), published["_fc.weight"], published["_fc.bias"]).softmax(1)
            best = scores.topk(3)
            print(record["image"], "classes", best.indices[0].tolist(), [round(v, 3) for v in best.values[0].tolist()])
            image = ids == config["image_token_index"]
            embedded[image] = projected(tensors, grid)
            grid_exactly = tower(published_exactly, pixels(Path(images) / record["image"]).double())
            embedded_exactly[image] = projected({n: t.double() for n, t in tensors.items()}, grid_exactly)
        theirs = language(inputs_embeds=embedded[None]).logits[0]
        found, truth = ours[f"{record['id']}.logits"], exactly(inputs_embeds=embedded_exactly[None]).logits[0]
        mixed = language(inputs_embeds=embedded_exactly.float()[None]).logits[0]
        print(
            record["id"], tuple(theirs.shape), f"largest logit {theirs.abs().max():.1f}, differences: from PyTorch {apart(found, theirs):.2e};",
            f"from float64: coin-host {apart(found, truth):.2e}, PyTorch {apart(theirs, truth):.2e},",
            f"PyTorch with the picture in float64 {apart(mixed, truth):.2e}", flush=True,
        )
        text = tokenizer.decode(ids[ids != config["image_token_index"]])
        print("  text:", repr(text[-120:]))
        if "image" not in record:
            question = record["conversations"][0]["value"]
            cut = text.index("<|im_start|>assistant\n") + len("<|im_start|>assistant\n")
            prompt = tokenizer(text[:cut], return_tensors="pt", add_special_tokens=False)["input_ids"]
            answer = language.generate(prompt, max_new_tokens=16, do_sample=False, pad_token_id=2, eos_token_id=2)
            print("  transformers answers", repr(question), "->", repr(tokenizer.decode(answer[0, prompt.shape[1]:])))


if __name__ == "__main__":
    main(*sys.argv[1:])
