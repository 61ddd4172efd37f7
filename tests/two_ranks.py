"""What each of two processes runs for tests of training on several devices, and leaves in files."""

import sys
from pathlib import Path

from safetensors.torch import save_file
from tiny import tiny_model
from tiny_training import (
    CONFIG,
    also_tasks,
    goal_of,
    run,
    same,
    shop,
    shop_also,
    weights,
)

from nexus_model.encode.choose import TableConfig
from nexus_model.schema import TaskKind
from nexus_model.train.config import OptimizerName, Strategy
from nexus_model.train.devices import joined
from nexus_model.train.loader import NexusLoader
from nexus_model.train.loop import new_state
from nexus_model.train.state import load_state, save_state
from nexus_model.train.trainer import NexusFlowTrainer
from nexus_pipeline.steps.launch import end_with_parent

# Steps in proportion to gradients: Adam's turn rounding into steps where a gradient is zero. With
# parts, weights that no rank uses get a gradient of zero, and so would decay. Shares are uneven.
CHANGED = {"optimizer": OptimizerName.SGD, "lr": 0.02, "epochs": 2, "weight_decay": 0.0}
PLAIN = CONFIG.model_copy(update={**CHANGED, "batch_size": 9})


def model_of(dropout=0.0, seed=0, also=()):
    """A model that draws nothing but its dropout, in float64, where only mistakes are seen."""
    tables = dict.fromkeys(shop().tensors.tables, TableConfig(unknown_rate=0.0))
    return tiny_model(shop(), seed, also=also, dropout=dropout, tables=tables).double()


def begun(ranks=None, dropout=0.0, seed=0):
    """A training that has not begun."""
    return new_state(model_of(dropout, seed), PLAIN, ranks)


def fitted_also(ranks=None):
    """Fitted to labels of a further task as well."""
    tiny = shop_also(TaskKind.REGRESSION)
    state = new_state(model_of(also=also_tasks(tiny)), PLAIN, ranks)
    return run(state, tiny, PLAIN)


def fitted(state, keep=None):
    """Fitted, with the checkpoint of the first epoch kept."""

    def on_epoch(now):
        if keep is not None and now.progress.next_epoch == 1:
            save_state(keep, now, PLAIN)

    def score(prediction_B, label_B):
        return -float(((prediction_B - label_B) ** 2).mean())

    return run(state, config=PLAIN, score=score, on_epoch=on_epoch)


def gone_on(state, checkpoint):
    """Fitted from a checkpoint on."""
    assert load_state(checkpoint, state, PLAIN)
    assert state.progress.next_epoch == 1
    return fitted(state)


def trained(strategy=Strategy.DDP):
    """What the trainer makes of a tiny model."""
    given = {"goal": goal_of(shop(), higher=False)}
    train, validation = (
        NexusLoader(shop().tensors, shop().samples(split), 9, shuffle=True, **given)
        for split in ("train", "validation")
    )
    trainer = NexusFlowTrainer(model_of(), PLAIN, use_early_stopping=False, strategy=strategy)
    return trainer.train(train, validation), trainer.progress


def written(folder, name, state):
    """Weights and scores of a training by this rank."""
    curve = [report.score for report in state.progress.curve]
    save_file(weights(state), folder / f"{name}.safetensors", {"curve": repr(curve)})


def main(folder):
    """All trainings one after another, since starting a process takes seconds."""
    model, _ = trained()
    ranks = joined()
    save_file(model.state_dict(), folder / f"trainer_{ranks.rank}.safetensors")
    for strategy in Strategy:
        chosen = ranks._replace(strategy=strategy)
        written(folder, f"{strategy}_{ranks.rank}", fitted(begun(chosen), folder / strategy))
        written(folder, f"also_{strategy}_{ranks.rank}", fitted_also(chosen))
    written(folder, f"from_one_{ranks.rank}", gone_on(begun(chosen, seed=9), folder / "one"))
    drawn = fitted(begun(ranks, dropout=0.3), folder / "drawn")
    again = gone_on(begun(ranks, dropout=0.3, seed=9), folder / "drawn")
    (folder / f"same_{ranks.rank}").write_text(str(same(weights(drawn), weights(again))))


if __name__ == "__main__":
    end_with_parent()
    main(Path(sys.argv[1]))
