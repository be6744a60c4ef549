"""The collapse alarm: says when the loss sits where it would be if all embeddings were the same."""

from collections.abc import Mapping
from typing import Any

COLLAPSE_STEPS = 200  # steps on the plateau before the alarm
TOLERANCE = 0.01  # relative distance that counts as being on the plateau


def on_plateau(values: Mapping[str, Any]) -> bool:
    """True when the loss is what it would be if all embeddings were the same."""
    if values["loss"] is None:  # not finite, as metrics.jsonl has it
        return False
    return abs(values["loss"] - values["plateau"]) <= TOLERANCE * values["plateau"]


class CollapseAlarm:
    """Says once when the loss has sat on the plateau of constant embeddings for COLLAPSE_STEPS steps."""

    def __init__(self):
        """No step seen yet."""
        self._since: int | None = None
        self._said = False

    @classmethod
    def after(cls, lines: list[dict[str, Any]]) -> "CollapseAlarm":
        """As it stands after the train lines of metrics.jsonl."""
        alarm = cls()
        for line in lines:
            if line["split"] == "train":
                alarm.check(line["step"], line)
        return alarm

    def check(self, step: int, values: Mapping[str, Any]) -> str | None:
        """The message when the alarm goes off at this step."""
        if not on_plateau(values):
            self._since, self._said = None, False
            return None
        self._since = step if self._since is None else self._since
        if self._said or step - self._since < COLLAPSE_STEPS:
            return None
        self._said = True
        return (
            f"warning: step {step}: the loss ({values['loss']:.2f}) has been within 1% of {values['plateau']:.2f} for "
            f"{step - self._since} steps, its value when all embeddings are the same: the model has collapsed or has "
            "not started to learn. Try a longer warm-up (config.loss.warmup_epochs), a lower config.optim.lr, a "
            "larger config.data.batch_size, or fewer negatives (config.loss.num_negatives)"
        )
