"""``python -m mora.export``: the policy at one preference as a LoRA adapter or a merged model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mora.settings.launch import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def export(cfg: DictConfig, overrides: list[str]) -> None:
    """Write the folder and say where it is."""
    from mora.errors import InputError
    from mora.files import new_folder
    from mora.functional.preference import checked
    from mora.model.export import write_lora, write_merged
    from mora.model.stored import base_of
    from mora.runs import open_policy, output_folder

    if cfg.to not in ("lora", "merged"):
        raise InputError(f"to={cfg.to}: use lora or merged")
    opened = open_policy(cfg.run, cfg.paths.runs)
    preferences = checked(list(cfg.preference), opened.objectives, "preference")
    if len(preferences) != 1:
        raise InputError("preference: an export holds one preference; run the command once for each")
    label = "-".join(f"{w:g}" for w in preferences[0].tolist())
    out = output_folder(cfg.out, opened.folder, f"{cfg.to}-{label}")
    adapter, model = opened.policy.adapter, opened.policy.model
    with new_folder(out) as folder:
        if cfg.to == "lora":
            base = base_of(opened.folder.path / "policy")
            write_lora(adapter, model, preferences[0], folder, base=base, pad_rank=cfg.pad_rank)
        else:
            write_merged(model, adapter, preferences[0], folder, opened.encoder.tokenizer)
    weights = ", ".join(f"{n} {w:g}" for n, w in zip(opened.objectives, preferences[0].tolist(), strict=True))
    print(f"{cfg.to} at {weights}: {out}")


def main() -> None:
    """The command line."""
    run("export", export)


if __name__ == "__main__":
    main()
