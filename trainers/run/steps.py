"""How many steps a run has done, one a batch: what file names, tables, curves and messages count."""

import lightning.pytorch as L


def steps_done(trainer: L.Trainer) -> int:
    """Steps done, one a batch: Lightning's own count is of the steps of all optimisers together."""
    return trainer.global_step // max(1, len(trainer.optimizers))


def last_step(trainer: L.Trainer) -> int:
    """Step at which the run ends, 0 if that is not known."""
    if trainer.max_steps and trainer.max_steps > 0:
        return trainer.max_steps // max(1, len(trainer.optimizers))
    batches = trainer.num_training_batches
    if not trainer.max_epochs or trainer.max_epochs < 0 or batches == float("inf"):
        return 0
    return trainer.max_epochs * -(-int(batches) // trainer.accumulate_grad_batches)
