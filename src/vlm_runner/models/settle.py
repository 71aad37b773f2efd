"""What a spec leaves open, settled by the model's profile; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_runner.models.profile import plain
from vlm_runner.spec import ServingMode

if TYPE_CHECKING:
    from vlm_runner.models.profile import ModelProfile
    from vlm_runner.spec import RunSpec


def settled(spec: RunSpec, profile: ModelProfile) -> RunSpec:
    """
    `spec` with one way to serve, and with every hyperparameter that the model knows.

    What is billed must never depend on a default of AWS's: it could change, and epochs decide the price.
    """
    defaults = {name: plain(each.default) for name, each in profile.hyperparameters.items()}
    training = spec.training.model_copy(
        update={"hyperparameters": defaults | spec.training.hyperparameters},
    )
    serving = spec.serving.model_copy(update={"mode": serving_mode(spec, profile)})
    return spec.model_copy(update={"training": training, "serving": serving})


def serving_mode(spec: RunSpec, profile: ModelProfile) -> ServingMode:
    """`auto`: on demand where the model can be served so, since that costs nothing while idle."""
    if spec.serving.mode is not ServingMode.AUTO:
        return spec.serving.mode
    # Model units are rented: whoever asks for several means a throughput.
    on_demand = profile.serving.on_demand and spec.serving.model_units == 1
    return ServingMode.ON_DEMAND if on_demand else ServingMode.PROVISIONED


def serving_reason(spec: RunSpec, profile: ModelProfile) -> str:
    """Why the run is served as `serving_mode` says, as the end of a sentence."""
    if spec.serving.mode is not ServingMode.AUTO:
        return "as the spec says"
    if serving_mode(spec, profile) is ServingMode.ON_DEMAND:
        return "it bills by the token, and nothing while idle"
    if profile.serving.on_demand:
        return f"model_units = {spec.serving.model_units} asks for rented units"
    return f"{profile.name} cannot be served on demand"
