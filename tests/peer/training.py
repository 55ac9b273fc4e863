"""LoRA training with transformers and peft: the same loss, optimizer and order of records as `coin-host bench train`."""

import time

import torch
from peft import LoraConfig, get_peft_model

import llava

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def with_lora(model, r, alpha, seed=0, dropout=0.0):
    """LoRA on all linears of the language model; B is drawn too, so that the first step already depends on everything."""
    torch.manual_seed(seed)
    names = [
        name
        for name, _ in model.named_modules()
        if "language_model" in name and name.rsplit(".", 1)[-1] in MODULES
    ]
    wrapped = get_peft_model(
        model, LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, bias="none", target_modules=names)
    )
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.02)
    return wrapped


def example(processor, record, folder, pad=False):
    """Inputs of one record with labels at the answer and its end."""
    given = llava.inputs(processor, record, folder, pad)
    whole, prompt = (len(processor.tokenizer(llava.conversation(record, answered))["input_ids"]) for answered in [True, False])
    labels = given["input_ids"].clone()
    labels[:, : labels.shape[1] - (whole - prompt)] = -100
    return given, labels


def batch(processor, records, folder, pad=False):
    """Rows filled up on the right."""
    rows = [example(processor, record, folder, pad) for record in records]
    longest = max(labels.shape[1] for _, labels in rows)
    filler = processor.tokenizer.pad_token_id

    def filled(tensor, value):
        return torch.nn.functional.pad(tensor, (0, longest - tensor.shape[1]), value=value)

    joined = {
        "input_ids": torch.cat([filled(given["input_ids"], filler) for given, _ in rows]),
        "attention_mask": torch.cat([filled(given["attention_mask"], 0) for given, _ in rows]),
        "labels": torch.cat([filled(labels, -100) for _, labels in rows]),
    }
    pictures = [given["pixel_values"] for given, _ in rows if "pixel_values" in given]
    if pictures:
        joined["pixel_values"] = torch.cat(pictures)
    return joined


def train(model, processor, records, folder, steps, batch_size, learning_rate, pad=False, seen=lambda seconds: None):
    """The loss of every step; `seen` hears how long each took, from reading its pictures on."""
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for step in range(steps):
        clock = time.perf_counter()
        places = [(step * batch_size + row) % len(records) for row in range(batch_size)]
        given = batch(processor, [records[place] for place in places], folder, pad)
        loss = model(**given).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seen(time.perf_counter() - clock)
    model.eval()
    return losses
