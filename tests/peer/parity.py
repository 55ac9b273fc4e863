"""Compares coin-host with transformers and peft on small random checkpoints of several shapes; prints the largest differences.

    make parity            # or: .peer/bin/python tests/peer/parity.py [path of coin-host]
"""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration, LlavaProcessor

import llava
import training

ROOT = Path(__file__).resolve().parent.parent.parent
LIMITS = {"logits": 1e-4, "training": 1e-3, "adapter": 1e-4, "half": 1.5}


def coin_host(*arguments):
    program = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/coin-host"
    done = subprocess.run([program, "--quiet", *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"coin-host {arguments[0]} ended with {done.returncode}")
    return done.stdout


def sources(folder, data="data.json"):
    return ["--model", folder / "model", "--data", folder / data, "--images", folder / "images", "--device", "cpu"]


def logits(model, processor, records, folder):
    """Largest difference of logits, over records, aspects and batches."""
    largest = 0.0
    for aspect in ["crop", "pad"]:
        expected = [llava.logits(model, processor, record, folder, aspect == "pad") for record in records]
        for batch_size in [1, 4]:
            out = folder / "out.safetensors"
            coin_host(
                "model", "logits", *sources(folder), "--out", out, "--image-aspect", aspect, "--batch-size", batch_size
            )
            found = load_file(out)
            for record, (ids, values) in zip(records, expected):
                assert torch.equal(found[f"{record['id']}.input_ids"], ids), record["id"]
                largest = max(largest, (found[f"{record['id']}.logits"] - values).abs().max().item())
    return largest


def half(model, processor, records, folder):
    """Mean distance of logits in bfloat16 from those in float32: coin-host's and transformers' own."""
    out = folder / "half.safetensors"
    coin_host("model", "logits", *sources(folder), "--out", out, "--dtype", "bfloat16")
    found, rounded = load_file(out), copy.deepcopy(model).to(torch.bfloat16)
    ours, theirs = [], []
    for record in records:
        expected = llava.logits(model, processor, record, folder)[1]
        ours.append((found[f"{record['id']}.logits"].float() - expected).abs().flatten())
        theirs.append((llava.logits(rounded, processor, record, folder)[1].float() - expected).abs().flatten())
    return torch.cat(ours).mean().item(), torch.cat(theirs).mean().item()


def answers(model, processor, single, folder):
    """Answers that differ, of how many."""
    expected = [llava.answer(model, processor, record, folder) for record in single]
    differing = 0
    for batch_size in [1, 4]:
        report = json.loads(
            coin_host(
                "bench", "generate", *sources(folder, "single.json"),
                "--batch-size", batch_size, "--max-new-tokens", 8, "--threads", 1,
            )
        )
        differing += sum(found["tokens"] != ids for found, ids in zip(report["answers"], expected))
    return differing, 2 * len(single)


def lora(model, processor, single, folder):
    """Largest difference of 20 losses, and of logits after peft has loaded what coin-host trained, and after coin-host merged it."""
    adapted = training.with_lora(model, r=4, alpha=8)
    adapted.save_pretrained(folder / "adapter")
    report = json.loads(
        coin_host(
            "bench", "train", *sources(folder, "single.json"), "--method", "lora", "--set", "r=4", "--set", "lora_alpha=8",
            "--adapter", folder / "adapter", "--out", folder / "trained", "--steps", 20, "--batch-size", 4,
            "--learning-rate", 1e-3, "--threads", 1,
        )
    )
    losses = training.train(adapted, processor, single, folder, 20, 4, 1e-3)
    difference = max(abs(a - b) for a, b in zip(report["losses"], losses))
    here = [llava.logits(adapted, processor, record, folder)[1] for record in single]
    there = PeftModel.from_pretrained(adapted.unload(), folder / "trained").eval()
    loaded = [llava.logits(there, processor, record, folder)[1] for record in single]
    adapter = max((a - b).abs().max().item() for a, b in zip(here, loaded))
    return difference, adapter, merged((there, processor), single, folder)


def merged(there, single, folder):
    """Largest difference of logits of what `model merge` wrote, loaded by transformers, from those of peft with the adapter."""
    coin_host("model", "merge", "--model", folder / "model", "--adapter", folder / "trained", "--out", folder / "merged")
    model = LlavaForConditionalGeneration.from_pretrained(folder / "merged").eval()
    processor = LlavaProcessor.from_pretrained(folder / "merged", backend="pil")
    pairs = [[llava.logits(*loaded, record, folder)[1] for loaded in [there, (model, processor)]] for record in single]
    return max((a - b).abs().max().item() for a, b in pairs)


def main():
    torch.set_num_threads(1)
    failed = False
    print("shape     logits    answers  20 losses  trained adapter in peft  merged in transformers")
    for shape in llava.SHAPES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model, processor = llava.checkpoint(folder / "model", shape, seed=1)
            records = llava.records(folder)
            single = [record for record in records if len(record["conversations"]) == 2]
            (folder / "single.json").write_text(json.dumps(single))
            apart = logits(model, processor, records, folder)
            differing, of = answers(model, processor, single, folder)
            ours, theirs = half(model, processor, records, folder)
            losses, adapter, folded = lora(model, processor, single, folder)
            print(
                f"{shape:8}  {apart:.1e}   {of - differing}/{of}    {losses:.1e}    {adapter:.1e}                  {folded:.1e}",
                flush=True,
            )
            print(f"          in bfloat16, from float32 on average: {ours:.1e}, transformers {theirs:.1e}", flush=True)
            failed |= ours > LIMITS["half"] * theirs
            failed |= apart > LIMITS["logits"] or differing > 0
            failed |= losses > LIMITS["training"] or max(adapter, folded) > LIMITS["adapter"]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
