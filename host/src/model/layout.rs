//! Names of tensors in the files of LLaVA checkpoints. One layout is ours, that of transformers 4 (`language_model.model.*`,
//! `language_model.lm_head.*`, `vision_tower.vision_model.*`, `multi_modal_projector.*`); what else is written is translated into it.

/// The name of a tensor in our layout, from any of those that are in use:
///
/// - transformers 4.52 and later keep `model.language_model.*`, `model.vision_tower.*`, `model.multi_modal_projector.*` and
///   `lm_head.*` in memory, and some of them write that;
/// - transformers 5 drops `vision_model` from the tower's names;
/// - LLaVA's own code has `model.layers.*`, `model.embed_tokens.*`, `model.norm.*`, `model.mm_projector.0.*` and `.2.*`, `lm_head.*`,
///   and wraps the tower twice (`model.vision_tower.vision_tower.*`); a tower of its own has `vision_model.*`.
///
/// A name of no layout comes back as it is.
pub fn canonical(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("language_model.") {
        let known = rest.starts_with("model.") || rest.starts_with("lm_head.");
        return if known { name.to_owned() } else { format!("language_model.model.{rest}") };
    }
    if let Some(rest) = name.strip_prefix("vision_tower.") {
        let rest = rest.strip_prefix("vision_tower.").unwrap_or(rest);
        return format!("vision_tower.vision_model.{}", rest.strip_prefix("vision_model.").unwrap_or(rest));
    }
    if name.starts_with("vision_model.") {
        return format!("vision_tower.{name}");
    }
    if name.starts_with("lm_head.") {
        return format!("language_model.{name}");
    }
    let Some(rest) = name.strip_prefix("model.") else { return name.to_owned() };
    if let Some(rest) = rest.strip_prefix("language_model.") {
        return format!("language_model.model.{rest}");
    }
    if let Some(rest) = rest.strip_prefix("mm_projector.") {
        let linear = match rest.split_once('.') {
            Some(("0", part)) => Some(format!("multi_modal_projector.linear_1.{part}")),
            Some(("2", part)) => Some(format!("multi_modal_projector.linear_2.{part}")),
            _ => None,
        };
        return linear.unwrap_or_else(|| name.to_owned());
    }
    if rest.starts_with("vision_tower.") || rest.starts_with("multi_modal_projector.") {
        return canonical(rest);
    }
    if ["layers.", "embed_tokens.", "norm."].iter().any(|part| rest.starts_with(part)) {
        return format!("language_model.{name}");
    }
    name.to_owned()
}

/// The same for a checkpoint of a tower alone, of transformers' `CLIPModel` or `CLIPVisionModel`: none for what stands beside the tower.
pub(super) fn of_tower(name: &str) -> Option<String> {
    if ["text_model.", "text_projection.", "visual_projection.", "logit_scale"]
        .iter()
        .any(|part| name.starts_with(part))
    {
        return None;
    }
    let bare = ["embeddings.", "pre_layrnorm.", "encoder.", "post_layernorm."];
    Some(match bare.iter().any(|part| name.starts_with(part)) {
        true => format!("vision_tower.vision_model.{name}"),
        false => canonical(name),
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::small;
    use super::super::parameter::parameters;
    use super::*;

    #[test]
    fn every_layout_in_use_becomes_ours() {
        for (written, ours) in [
            ("language_model.lm_head.weight", "language_model.lm_head.weight"),
            ("lm_head.weight", "language_model.lm_head.weight"),
            ("language_model.model.norm.weight", "language_model.model.norm.weight"),
            ("model.language_model.norm.weight", "language_model.model.norm.weight"),
            (
                "model.language_model.layers.3.mlp.up_proj.weight",
                "language_model.model.layers.3.mlp.up_proj.weight",
            ),
            ("model.layers.3.mlp.up_proj.weight", "language_model.model.layers.3.mlp.up_proj.weight"),
            ("model.embed_tokens.weight", "language_model.model.embed_tokens.weight"),
            ("model.multi_modal_projector.linear_1.bias", "multi_modal_projector.linear_1.bias"),
            ("model.mm_projector.0.weight", "multi_modal_projector.linear_1.weight"),
            ("model.mm_projector.2.bias", "multi_modal_projector.linear_2.bias"),
            ("vision_tower.pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"),
            ("model.vision_tower.pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"),
            (
                "model.vision_tower.vision_model.pre_layrnorm.bias",
                "vision_tower.vision_model.pre_layrnorm.bias",
            ),
            (
                "model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias",
                "vision_tower.vision_model.pre_layrnorm.bias",
            ),
            ("vision_model.pre_layrnorm.bias", "vision_tower.vision_model.pre_layrnorm.bias"),
            ("model.mm_projector.1.weight", "model.mm_projector.1.weight"),
            ("model.image_newline", "model.image_newline"),
            ("visual_projection.weight", "visual_projection.weight"),
        ] {
            assert_eq!(canonical(written), ours, "{written}");
        }
    }

    #[test]
    fn a_tower_of_its_own_has_other_parts_beside_it() {
        let ours = Some("vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias".to_owned());
        assert_eq!(of_tower("vision_model.encoder.layers.0.mlp.fc1.bias"), ours);
        assert_eq!(of_tower("encoder.layers.0.mlp.fc1.bias"), ours);
        assert_eq!(of_tower("text_model.encoder.layers.0.mlp.fc1.bias"), None);
        assert_eq!(of_tower("logit_scale"), None);
    }

    #[test]
    fn our_own_names_stay() {
        for parameter in parameters(&small()) {
            assert_eq!(canonical(&parameter.name), parameter.name);
        }
    }
}
