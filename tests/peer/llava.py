"""Small random LLaVA checkpoints made with transformers, pictures and conversations for them, and what transformers computes."""

import json
from pathlib import Path

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)

TEXTS = [
    SYSTEM,
    "USER: What is the object in the image?\nAnswer the question using a single word or phrase. ASSISTANT: goldfish",
    "USER: Which one is a solid?\nA. milk\nB. a brick\nAnswer with the option's letter from the given choices directly. ASSISTANT: B",
    "USER: Please provide the bounding box coordinate of the region this sentence describes: man in red ASSISTANT: [0.12,0.30,0.40,0.66]",
    "what brand is on the mug? acme. Is the cup red? yes. Who wrote this book? Jane Doe. unanswerable",
]


def tokenizer(vocabulary=420):
    """A byte-fallback BPE with Llama's normaliser, as sentencepiece's models are converted, trained on a few lines."""
    model = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    # Words are kept apart while training only: sentencepiece merges nothing across them, and encoding has no pre-tokenizer.
    from tokenizers import pre_tokenizers

    model.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
    )
    model.train_from_iterator(TEXTS, trainer)
    vocab = json.loads(model.to_str())["model"]
    model = Tokenizer(
        models.BPE(
            vocab=vocab["vocab"],
            merges=[tuple(merge) for merge in vocab["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    model.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    model.add_special_tokens(["<unk>", "<s>", "</s>"])
    model.add_special_tokens([AddedToken("<image>", normalized=False), AddedToken("<pad>", normalized=False)])
    model.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", model.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


# What differs from shape to shape; the rest is in `checkpoint`.
SHAPES = {
    "grouped": dict(text=dict(num_key_value_heads=2)),
    "plain": dict(text=dict(num_key_value_heads=4), vision=dict(image_size=36), save=dict(max_shard_size="60KB")),
    "tied": dict(
        text=dict(num_key_value_heads=1, tie_word_embeddings=True, rope_theta=5e5),
        llava=dict(tie_word_embeddings=True),
        save=dict(save_original_format=False),
    ),
    "full": dict(
        text=dict(num_key_value_heads=2, head_dim=12, rms_norm_eps=1e-5),
        vision=dict(hidden_act="gelu", num_hidden_layers=2),
        llava=dict(
            vision_feature_layer=-1, vision_feature_select_strategy="full", multimodal_projector_bias=False
        ),
    ),
    "first": dict(text=dict(num_key_value_heads=2), llava=dict(vision_feature_layer=1)),
}


def checkpoint(folder, shape="grouped", seed=0, **sizes):
    """Saves a checkpoint with random weights; returns model and processor. `sizes`: keys of `text` and `vision` that differ."""
    torch.manual_seed(seed)
    parts = SHAPES[shape]
    words = tokenizer()
    hidden = 32
    vision = dict(
        hidden_size=24, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=7
    )
    vision |= parts.get("vision", {}) | sizes.get("vision", {})
    text = dict(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=hidden * 3 // 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        # Wide enough that logits differ visibly and greedy answers do not hang on the last bit.
        initializer_range=0.15,
    )
    text |= parts.get("text", {}) | sizes.get("text", {})
    image_token = words.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(initializer_range=0.1, **vision),
        text_config=LlamaConfig(**text),
        image_token_index=image_token,
        **parts.get("llava", {}),
    )
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.generation_config.pad_token_id = words.pad_token_id
    model.generation_config.eos_token_id = words.eos_token_id
    side = vision["image_size"]
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
        tokenizer=words,
        patch_size=vision["patch_size"],
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
    )
    model.save_pretrained(folder, **parts.get("save", {}))
    processor.save_pretrained(folder)
    return model, processor


def picture(width, height):
    """The same picture in every language: products and a remainder (`made` in host/src/data/resize.rs)."""
    image = Image.new("RGB", (width, height))
    image.putdata(
        [
            tuple((x * x * (7 + c) + y * y * (3 + 5 * c) + x * y + 31 * c) % 256 for c in range(3))
            for y in range(height)
            for x in range(width)
        ]
    )
    return image


def records(folder, repeat=1):
    """CoIN's training layout: writes the pictures and `data.json` below `folder`, returns the records."""
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in ["28x28.png", "61x33.jpg", "30x75.png", "13x17.png", "200x90.jpg", "36x36.png"]:
        size, kind = name.split(".")
        # Of JPEG, one with colours at half the resolution, as cameras write, and one in several scans.
        how = {"quality": 90, "progressive": size == "200x90"} if kind == "jpg" else {}
        picture(*map(int, size.split("x"))).save(folder / "images" / name, **how)
    word = "\nAnswer the question using a single word or phrase."
    turns = [
        ("61x33.jpg", [("What is the object in the image?" + word, "goldfish")]),
        ("28x28.png", [("Which one is a solid?\nA. milk\nB. a brick\nAnswer with the option's letter.", "B")]),
        ("30x75.png", [("Please provide the box: man in red", "[0.12,0.30,0.40,0.66]")]),
        (None, [("Is the cup red?", "yes")]),
        ("13x17.png", [("  what brand is on the mug? ", "acme é")]),
        ("200x90.jpg", [("Who wrote this book?", "Jane Doe"), ("Is it red?", "no, it is not")]),
        ("36x36.png", [("?", "unanswerable")]),
    ]
    listed = []
    for index in range(repeat * len(turns)):
        image, rounds = turns[index % len(turns)]
        conversations = []
        for number, (question, answer) in enumerate(rounds):
            head = "<image>\n" if image and number == 0 else ""
            conversations += [{"from": "human", "value": head + question}, {"from": "gpt", "value": answer}]
        record = {"id": f"r{index}", "image": image, "conversations": conversations}
        if image is None:
            del record["image"]
        listed.append(record)
    (folder / "data.json").write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n")
    return listed


def conversation(record, answered=True):
    """The text of a record by the template `vicuna_v1`, as LLaVA's `preprocess_multimodal` and `preprocess_v1` build it."""
    text = SYSTEM + " "
    for turn in record["conversations"]:
        value = turn["value"]
        if "<image>" in value:
            value = ("<image>\n" + value.replace("<image>", "").strip()).strip()
        if turn["from"] == "human":
            text += f"USER: {value} ASSISTANT:"
        elif answered:
            text += f" {value}</s>"
        else:
            return text
    return text


def padded(image, mean):
    """LLaVA's `expand2square`."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(channel * 255) for channel in mean))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def inputs(processor, record, folder, pad=False, answered=True):
    """What transformers' processor gives for one record."""
    text = conversation(record, answered)
    if "image" not in record:
        return processor.tokenizer(text, return_tensors="pt")
    image = Image.open(Path(folder) / "images" / record["image"]).convert("RGB")
    if pad:
        image = padded(image, processor.image_processor.image_mean)
    return processor(images=image, text=text, return_tensors="pt")


@torch.no_grad()
def logits(model, processor, record, folder, pad=False):
    """Ids and logits at all positions, with the answer."""
    given = dict(inputs(processor, record, folder, pad))
    if "pixel_values" in given:
        given["pixel_values"] = given["pixel_values"].to(model.dtype)
    return given["input_ids"][0], model(**given).logits[0]


@torch.no_grad()
def answer(model, processor, record, folder, pad=False, max_new_tokens=8):
    """Ids of the greedy answer to the first question, without the end token."""
    given = inputs(processor, record, folder, pad, answered=False)
    whole = model.generate(**given, do_sample=False, num_beams=1, max_new_tokens=max_new_tokens)
    ids = whole[0, given["input_ids"].shape[1] :].tolist()
    end = processor.tokenizer.eos_token_id
    return ids[: ids.index(end)] if end in ids else ids


@torch.no_grad()
def answers(model, processor, records, folder, max_new_tokens):
    """Greedy answers to a batch, filled up on the left."""
    texts = [conversation(record, answered=False) for record in records]
    images = [Image.open(Path(folder) / "images" / record["image"]).convert("RGB") for record in records]
    given = processor(images=images, text=texts, padding=True, return_tensors="pt")
    whole = model.generate(**given, do_sample=False, num_beams=1, max_new_tokens=max_new_tokens)
    return whole[:, given["input_ids"].shape[1] :].tolist()
