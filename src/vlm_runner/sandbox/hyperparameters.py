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


def all_hyperparameters(model: FoundationModel, given: Mapping[str, str]) -> dict[str, str]:
    """
    As a job tells them: also those that were not given, a learning rate of 0.0001 as "1.0E-4".

    Seen on live jobs of third parties (2026): Java's spelling of a double. Those that were given are told as
    they were sent; whether AWS spells them anew is not known.
    """
    defaults = {
        name: str(int(rule.default)) if rule.kind == "integer" else _as_java_does(rule.default)
        for name, rule in model.hyperparameters.items()
    }
    return {**defaults, **given}


def _as_java_does(number: float) -> str:
    """java.lang.Double.toString, of what is not negative."""
    if number == 0 or 1e-3 <= number < 1e7:
        return repr(float(number))
    digits, _, exponent = f"{number:.15e}".partition("e")
    whole, _, rest = digits.partition(".")
    return f"{whole}.{rest.rstrip('0') or '0'}E{int(exponent)}"


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
