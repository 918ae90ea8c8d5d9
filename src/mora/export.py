"""``python -m mora.export``: a policy at one preference as adapter or merged model, a reward model as a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mora.errors import InputError
from mora.latest import find_run
from mora.settings.launch import run

if TYPE_CHECKING:
    from omegaconf import DictConfig


def export(cfg: DictConfig, overrides: list[str]) -> None:
    """Write the folder and say where it is."""
    find_run(cfg.run, cfg.paths.runs)
    if cfg.to == "classifier":
        _classifier(cfg)
    else:
        _policy(cfg)


def _policy(cfg: DictConfig) -> None:
    from mora.files import file_name, new_folder
    from mora.functional.preference import among, checked
    from mora.model.export import write_lora, write_merged
    from mora.model.stored import base_of
    from mora.run.opened import open_policy, output_folder

    opened = open_policy(cfg.run, cfg.paths.runs)
    preference = None
    if opened.policy.steered and cfg.preference is None:
        raise InputError("preference is missing: one weight per objective, as in preference=[0.5,0.5]")
    if not opened.policy.steered and cfg.preference is not None:
        raise InputError(f"preference: no preference steers the policy of {opened.folder.path}; leave it out")
    if opened.policy.steered:
        preferences = checked(list(cfg.preference), opened.objectives, "preference")
        if len(preferences) != 1:
            raise InputError("preference: an export holds one preference; run the command once for each")
        preference = among(preferences, opened.policy.floored)[0]
    label = "" if preference is None else "".join(f"-{w:g}" for w in preference.tolist())
    out = output_folder(cfg.out, opened.folder, file_name(f"{cfg.to}{label}", room=80))
    adapter, model = opened.policy.adapter, opened.policy.model
    with new_folder(out) as folder:
        if cfg.to == "lora":
            base = base_of(opened.folder.path / "policy")
            ends = opened.encoder.ends
            write_lora(adapter, model, preference, folder, base=base, pad_rank=cfg.pad_rank, ends=ends)
        else:
            write_merged(model, adapter, preference, folder, opened.encoder.tokenizer, opened.encoder.ends)
    if preference is None:
        print(f"{cfg.to}: {out}")
    else:
        weights = ", ".join(f"{n} {w:g}" for n, w in zip(opened.objectives, preference.tolist(), strict=True))
        print(f"{cfg.to} at {weights}: {out}")


def _classifier(cfg: DictConfig) -> None:
    from mora.files import file_name, new_folder
    from mora.model.classifier import write_classifier
    from mora.reward.stored import load_trained
    from mora.run.opened import open_run, output_folder

    opened, _ = open_run(cfg.run, cfg.paths.runs)
    if not (opened.path / "reward").is_dir():
        raise InputError(f"{opened.path} holds no reward model; name a run of algo=reward_model")
    scorer = load_trained(opened.path / "reward", "cpu")
    if not scorer.kind.linear:
        raise InputError(
            f"{opened.path}: the mean of a {scorer.kind.name} reward is not linear in what the model computes, so no "
            "classifier with one linear head gives it; score with python -m mora.score instead"
        )
    if scorer.model.pooling != "last":
        raise InputError(
            f"{opened.path}: the reward model reads the mean over all tokens of an encoder, and no stock classifier "
            "does; score with python -m mora.score instead"
        )
    known = scorer.standardization
    if known is None:
        raise InputError(
            f"{opened.path}: the reward model has no reference statistics; train it with algo.reference_prompts above 0"
        )
    special = {*scorer.model.tokenizer.all_special_ids}
    plain = [i for i in range(len(scorer.model.tokenizer)) if i not in special]
    texts = [[plain[(7 * i + size) % len(plain)] for i in range(size)] + [scorer.encoder.eos] for size in (4, 9, 17)]
    if cfg.objective is not None and cfg.objective not in scorer.objectives:
        raise InputError(f"objective={cfg.objective}: {opened.path} scores {', '.join(scorer.objectives)}")
    names = scorer.objectives if cfg.objective is None else (cfg.objective,)
    name = "classifier" if cfg.objective is None else file_name(f"classifier-{cfg.objective}", room=80)
    out = output_folder(cfg.out, opened, name)
    with new_folder(out) as folder:
        shift, std = known.of_members(scorer.members)
        facts = write_classifier(scorer.model, folder, objectives=names, shift=shift, std=std, sequences=texts)
    print(f"classifier of {', '.join(facts['objectives'])}: {out} (largest error {facts['largest error']:.1e})")


def main() -> None:
    """The command line."""
    run("export", export)


if __name__ == "__main__":
    main()
