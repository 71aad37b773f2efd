"""Hyperparameters: a map of strings, with names and ranges that depend on the model."""

from collections.abc import Mapping

from vlm_runner.sandbox.catalogue import FoundationModel, Hyperparameter
from vlm_runner.sandbox.errors import invalid


def check_hyperparameters(model: FoundationModel, given: Mapping[str, str]) -> dict[str, float]:
    """
    The values that training uses: those given, and the model's defaults for the rest.

    Raises:
        AwsError: an unknown name, not a number, or out of range.
    """
    for name in given:
        if name not in model.hyperparameters:
            raise invalid(f"The hyperparameter {name} is not supported for {model.customizable_id}.")
    return {
        name: _number(name, given[name], rule) if name in given else rule.default
        for name, rule in model.hyperparameters.items()
    }


def _number(name: str, text: str, rule: Hyperparameter) -> float:
    try:
        number = float(int(text)) if rule.kind == "integer" else float(text)
    except ValueError:
        raise invalid(
            f"The hyperparameter {name} has the value '{text}', which is not a valid {rule.kind}."
        ) from None
    if not rule.min <= number <= rule.max:
        raise invalid(
            f"The hyperparameter {name} must be between {rule.min:g} and {rule.max:g}; it is '{text}'."
        )
    return number
