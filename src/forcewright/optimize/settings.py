"""The ``study`` section of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator


class StudySettings(BaseModel):
    """How many trials there are, how their hyperparameters are chosen and when the search ends."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)

    trials: int = Field(default=32, ge=1, validation_alias=AliasChoices("trials", "settings"))
    """Number of trials; may be raised later to continue the same study."""
    initial: int = Field(default=16, ge=1)
    """Trials spread evenly over the space (Hammersley points) before the search begins to learn."""
    sampler: Literal["gp", "hammersley", "random"] = "gp"
    """What chooses the trials after the initial ones: a Gaussian process, or points that do not learn."""
    acquisition: Literal["ei", "pi", "lcb", "gp_hedge"] = "ei"
    """Where the Gaussian process looks next: expected improvement, probability of improvement, lower confidence
    bound, or a portfolio of the three that favors the most successful one."""
    objectives: tuple[str, ...] = ("loss",)
    """What is minimized: the loss, and metrics of every evaluation, by name. With more than one the Gaussian process
    searches for the whole Pareto front (ParEGO), and each step weights them differently."""
    seed: int = Field(default=0, ge=0)
    """Same seed, same trials, whatever the number of workers. Seed 0 begins with the plain Hammersley points, any
    other with the same points shifted as a whole."""
    batch: int = Field(default=2, ge=1)
    """Evaluations that may be pending while the next is chosen: trial n is chosen from the results up to n - batch.
    It is not the number of workers, but more workers than this are idle once the initial trials are done."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds after which a run starts no further evaluation; running ones are finished and recorded."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many trials beyond the initial ones without a lower loss; with several objectives, without
    a new point on the front."""
    xi: float = Field(default=0.01, ge=0)
    """Least improvement that counts for EI and PI, in standard deviations of the losses seen."""
    kappa: float = Field(default=1.96, ge=0)
    """Weight of the uncertainty in the lower confidence bound; larger explores more."""
    log_loss: bool = True
    """Let the Gaussian process learn the logarithm of the loss (and of other objectives), as long as every value is
    positive."""

    @model_validator(mode="before")
    @classmethod
    def _few_trials(cls, content: Any) -> Any:
        """Let all of few trials be initial ones where nothing else is said."""
        if isinstance(content, Mapping) and {"trials", "settings"} <= set(content):
            raise ValueError("has trials and settings, two names of the same number; keep trials")
        if isinstance(content, Mapping) and "initial" not in content:
            trials = content.get("trials", content.get("settings"))
            if isinstance(trials, int) and 1 <= trials < cls.model_fields["initial"].default:
                return {**content, "initial": trials}
        return content

    @model_validator(mode="after")
    def _initial_fits(self) -> Self:
        if self.initial > self.trials:
            raise ValueError(
                f"initial ({self.initial}) exceeds the number of trials ({self.trials}); lower one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _objectives_differ(self) -> Self:
        if self.objectives[:1] != ("loss",) or len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives ({', '.join(self.objectives)}) must begin with loss and name each once")
        return self

    def single(self) -> Self:
        """Return the settings of a study with nothing to search: one trial."""
        return self.model_copy(update={"trials": 1, "initial": 1, "sampler": "random"})

    def sequence(self) -> dict[str, Any]:
        """Return what determines the sequence of trials, without what determines only when to stop."""
        decides = set(StudySettings.model_fields) - {"trials", "timeout_s", "patience"}
        if self.objectives == ("loss",):  # studies begun before there were other objectives continue
            decides.remove("objectives")
        return self.model_dump(include=decides)
