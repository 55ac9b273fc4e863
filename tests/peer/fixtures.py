"""Writes tests/fixtures/llava anew: a small checkpoint, conversations, and what transformers and Pillow make of them."""

import copy
import json
import shutil
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

import llava
import original
import training

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "llava"


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    model, processor = llava.checkpoint(FOLDER / "model", "grouped")
    for name in ["generation_config.json", "chat_template.jinja", "tokenizer_config.json"]:
        (FOLDER / "model" / name).unlink(missing_ok=True)
    original.write(FOLDER / "model", FOLDER / "original")
    records = llava.records(FOLDER)
    expected = {}
    answers = {}
    rounded, expected_rounded = copy.deepcopy(model).to(torch.bfloat16), {}
    for aspect in ["crop", "pad"]:
        for record in records:
            ids, logits = llava.logits(model, processor, record, FOLDER, pad=aspect == "pad")
            expected[f"{record['id']}.input_ids"] = ids
            # All of them would make a large file; the last positions depend on the whole sequence.
            expected[f"{aspect}.{record['id']}.logits"] = logits[-12:].contiguous()
            answers.setdefault(aspect, {})[record["id"]] = llava.answer(
                model, processor, record, FOLDER, pad=aspect == "pad"
            )
    for record in records:
        logits = llava.logits(rounded, processor, record, FOLDER)[1]
        expected_rounded[f"{record['id']}.logits"] = logits[-12:].contiguous()
    save_file(expected, FOLDER / "expected.safetensors")
    save_file(expected_rounded, FOLDER / "expected-bfloat16.safetensors")
    (FOLDER / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    # Tasks have one round a record.
    single = [record for record in records if len(record["conversations"]) == 2]
    (FOLDER / "single.json").write_text(json.dumps(single, indent=1, ensure_ascii=False) + "\n")
    adapted = training.with_lora(model, r=4, alpha=8)
    adapted.save_pretrained(FOLDER / "adapter")
    (FOLDER / "adapter" / "README.md").unlink(missing_ok=True)
    path = FOLDER / "adapter" / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"].sort()  # a set, in another order each time
    path.write_text(json.dumps(config, indent=1) + "\n")
    losses = training.train(adapted, processor, single, FOLDER, steps=20, batch_size=4, learning_rate=1e-3)
    (FOLDER / "losses.json").write_text(json.dumps(losses, indent=1) + "\n")
    sizes = [
        ((61, 33), (28, 28)),
        ((33, 61), (20, 9)),
        ((5, 7), (24, 40)),
        ((28, 28), (28, 13)),
        ((200, 90), (62, 28)),
        ((30, 75), (28, 70)),
        ((40, 3), (13, 1)),
        ((1, 1), (4, 4)),
    ]
    cases = []
    for start, end in sizes:
        resized = llava.picture(*start).resize(end, Image.Resampling.BICUBIC)
        cases.append({"from": start, "to": end, "rgb": list(resized.tobytes())})
    (FOLDER / "pillow_bicubic.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
