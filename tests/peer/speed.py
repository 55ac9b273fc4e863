"""Times coin-host beside transformers and peft: the same checkpoint, records and threads, turn by turn in one go.

    make speed             # or: .peer/bin/python tests/peer/speed.py [--rounds N] [--steps N] [--program coin-host]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BATCH, RANK, ALPHA, NEW_TOKENS, THREADS = 8, 128, 256, 16, 2


def prepare(folder):
    """A LLaVA of 36 M numbers with random weights (CLIP 6 x 256 on 112 px, Llama 8 x 512), and 64 records of about 200 tokens."""
    import llava

    llava.checkpoint(
        folder / "model",
        vision=dict(
            hidden_size=256, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=4, image_size=112, patch_size=14
        ),
        text=dict(
            vocab_size=8000, hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8,
            num_key_value_heads=8, initializer_range=0.05,
        ),
    )  # fmt: skip
    (folder / "images").mkdir()
    words = " ".join(llava.TEXTS).split()
    records = []
    for index in range(64):
        width, height = 96 + 7 * (index % 9), 80 + 11 * (index % 7)
        llava.picture(width, height).save(folder / "images" / f"{index}.png")
        question = " ".join(words[(index * 5 + place) % len(words)] for place in range(14 + index % 8))
        records.append(
            {
                "id": f"r{index}",
                "image": f"{index}.png",
                "conversations": [
                    {"from": "human", "value": "<image>\n" + question},
                    {"from": "gpt", "value": ["goldfish", "yes", "Jane Doe", "B", "[0.12,0.30,0.40,0.66]"][index % 5]},
                ],
            }
        )
    (folder / "data.json").write_text(json.dumps(records))


def peer(folder, what, steps, dropout):
    """One measurement with transformers, in a process of its own."""
    import torch
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    import llava
    import moelora
    import training

    torch.set_num_threads(THREADS)
    model = LlavaForConditionalGeneration.from_pretrained(folder / "model").eval()
    processor = LlavaProcessor.from_pretrained(folder / "model")
    records = json.loads((folder / "data.json").read_text())
    if what in ["lora", "moelora"]:
        if what == "lora":
            model = training.with_lora(model, r=RANK, alpha=ALPHA, dropout=dropout)
        else:
            model = moelora.with_moelora(model, training.MODULES, RANK, ALPHA, dropout=dropout)
        seconds = []
        training.train(model, processor, records, folder, steps, BATCH, 2e-4, seen=seconds.append)
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        report = {"seconds_per_step": statistics.median(seconds[2:]), "trainable_parameters": trained}
    else:
        rows = int(what.removeprefix("generate-"))
        processor.tokenizer.padding_side = "left"
        rates = []
        for start in range(0, steps * rows, rows):
            clock = time.perf_counter()
            llava.answers(model, processor, [records[place % 64] for place in range(start, start + rows)], folder, NEW_TOKENS)
            rates.append(rows / (time.perf_counter() - clock))
        report = {"answers_per_second": statistics.median(rates[2:])}
    report["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(report))


def ours(folder, program, what, steps, dropout):
    sources = ["--model", folder / "model", "--data", folder / "data.json", "--images", folder / "images", "--threads", THREADS, "--device", "cpu"]
    if what in ["lora", "moelora"]:
        command = ["train", "--method", what, "--set", f"r={RANK}", "--set", f"lora_alpha={ALPHA}", "--set", f"lora_dropout={dropout}", "--steps", steps, "--batch-size", BATCH]  # fmt: skip
    else:
        rows = what.removeprefix("generate-")
        command = ["generate", "--batch-size", rows, "--max-new-tokens", NEW_TOKENS]
    command = [program, "--quiet", "bench", *command, *sources]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=ROOT / "target/release/coin-host")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.0, help="of the adapters' input")
    parser.add_argument("--only", nargs="*", default=["lora", "moelora", "generate-8", "generate-1"])
    parser.add_argument("--folder", type=Path, help="keep the checkpoint and records here")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        return peer(given.folder, given.peer, given.steps, given.dropout)
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        if not (folder / "data.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            prepare(folder)
        environment = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
        print(f"{'':12} {'coin-host':>11} {'peer':>11} {'ratio':>7}   memory  ({THREADS} threads, batches of {BATCH})")
        for what in given.only:
            rounds = []
            for _ in range(given.rounds):
                command = [sys.executable, __file__, "--peer", what, "--folder", str(folder), "--steps", str(given.steps), "--dropout", str(given.dropout)]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
                rounds.append((ours(folder, given.program, what, given.steps, given.dropout), json.loads(done.stdout)))
            figure = "seconds_per_step" if what in ["lora", "moelora"] else "answers_per_second"
            here, there = (statistics.median(pair[side][figure] for pair in rounds) for side in (0, 1))
            ratio = statistics.median(a[figure] / b[figure] for a, b in rounds)
            memory = [max(pair[side]["peak_memory_bytes"] for pair in rounds) / 2**30 for side in (0, 1)]
            print(f"{what:12} {here:11.3f} {there:11.3f} {ratio:7.3f}   {memory[0]:.2f} / {memory[1]:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
