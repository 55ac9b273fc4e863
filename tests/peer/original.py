"""The fixture's checkpoint as LLaVA's own code writes it: `pytorch_model*.bin` without the image token and without the vision tower."""

import json

import torch
from safetensors.torch import load_file


def write(model, folder):
    """`model`: folder in the Hugging Face layout. Shards, their index and config.json go to `folder`."""
    config = json.loads((model / "config.json").read_text())
    text, image_token = config["text_config"], config["image_token_index"]
    tensors = {}
    for name, tensor in load_file(model / "model.safetensors").items():
        if name.startswith("vision_tower."):
            continue
        name = name.removeprefix("language_model.")
        for linear, place in [("linear_1", "0"), ("linear_2", "2")]:
            name = name.replace(f"multi_modal_projector.{linear}", f"model.mm_projector.{place}")
        if name in ["model.embed_tokens.weight", "lm_head.weight"]:
            tensor = tensor[:image_token].clone()
        tensors[name] = tensor.contiguous()
    # As it may lie in memory after a training.
    name = "model.layers.0.mlp.down_proj.weight"
    tensors[name] = tensors[name].t().contiguous().t()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.arange(4.0)
    folder.mkdir(parents=True, exist_ok=True)
    # As the pre-training of the projector leaves it, beside nothing but config.json.
    projector = {name: tensor for name, tensor in tensors.items() if ".mm_projector." in name}
    torch.save(projector, folder.parent / "mm_projector.bin")
    names = sorted(tensors)
    index = {}
    for number, part in enumerate([names[::2], names[1::2]], 1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index}, indent=1) + "\n"
    )
    kept = [
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "rms_norm_eps",
        "tie_word_embeddings",
    ]
    own = {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "vocab_size": image_token,
        "image_aspect_ratio": "pad",
        "mm_hidden_size": config["vision_config"]["hidden_size"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": config["vision_feature_layer"],
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "use_mm_proj": True,
    }
    (folder / "config.json").write_text(json.dumps(own | {key: text[key] for key in kept}, indent=1) + "\n")
