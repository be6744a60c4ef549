"""The collapse alarm: warns when the loss stays where it would be if all embeddings were the same."""

from collections.abc import Mapping
from typing import Any

COLLAPSE_STEPS = 200  # steps on the plateau before the alarm
TOLERANCE = 0.01  # relative distance that counts as being on the plateau


def on_plateau(values: Mapping[str, Any]) -> bool:
    """Whether the loss is what it would be if all embeddings were the same."""
    if values["loss"] is None or values.get("plateau") is None:  # metrics.jsonl has null for what is not finite
        return False
    return abs(values["loss"] - values["plateau"]) <= TOLERANCE * values["plateau"]


class CollapseAlarm:
    """Warns once when the loss has been on the plateau of equal embeddings for COLLAPSE_STEPS steps."""

    def __init__(self):
        """Starts without any steps."""
        self._since: int | None = None
        self._said = False

    @classmethod
    def after(cls, lines: list[dict[str, Any]]) -> "CollapseAlarm":
        """Returns an alarm that has seen the train lines of metrics.jsonl."""
        alarm = cls()
        for line in lines:
            if line["split"] == "train":
                alarm.check(line["step"], line)
        return alarm

    def check(self, step: int, values: Mapping[str, Any]) -> str | None:
        """Returns the message if the alarm goes off at this step, else None."""
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
