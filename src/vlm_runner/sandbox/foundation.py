"""Foundation models as the API lists them: the plain id, and the customizable one with a context suffix."""

from collections.abc import Mapping
from typing import Any

from vlm_runner.sandbox.catalogue import FoundationModel, find_model, foundation_models
from vlm_runner.sandbox.resources import Region
from vlm_runner.sandbox.state import SandboxState

P = Mapping[str, Any]


def get_foundation_model(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    model, customizable = find_model(p["modelIdentifier"], region.name)
    model.require_alive(state.now())
    return {"modelDetails": _details(state, region, model, customizable=customizable)}


def list_foundation_models(state: SandboxState, region: Region, p: P) -> dict[str, Any]:
    rows = [
        _details(state, region, model, customizable=customizable)
        for model in foundation_models()
        if model.region == region.name and model.lifecycle(state.now()) != "GONE"
        for customizable in (False, True)
    ]
    return {"modelSummaries": [row for row in rows if _wanted(row, p)]}


def _wanted(row: Mapping[str, Any], p: P) -> bool:
    return (
        p.get("byProvider", row["providerName"]).lower() == row["providerName"].lower()
        and ("byCustomizationType" not in p or p["byCustomizationType"] in row["customizationsSupported"])
        and ("byOutputModality" not in p or p["byOutputModality"] in row["outputModalities"])
        and ("byInferenceType" not in p or p["byInferenceType"] in row["inferenceTypesSupported"])
    )


def _details(
    state: SandboxState, region: Region, model: FoundationModel, *, customizable: bool
) -> dict[str, Any]:
    # Fine-tuning and throughput require the suffixed id; on-demand inference the plain one.
    model_id = model.customizable_id if customizable else model.id
    plain_tells = state.scenario.fine_tuning_on_plain_id
    on_demand = ["ON_DEMAND"] if model.on_demand_base else []
    lifecycle = {
        "status": model.lifecycle(state.now()),
        "legacyTime": model.legacy_at,
        "endOfLifeTime": model.end_of_life_at,
    }
    return {
        "modelArn": f"arn:aws:bedrock:{region.name}::foundation-model/{model_id}",
        "modelId": model_id,
        "modelName": model.name,
        "providerName": model.provider,
        "inputModalities": ["TEXT", "IMAGE"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "customizationsSupported": ["FINE_TUNING"] if customizable != plain_tells else [],
        "inferenceTypesSupported": ["PROVISIONED"] if customizable else [*on_demand, "INFERENCE_PROFILE"],
        "modelLifecycle": {name: value for name, value in lifecycle.items() if value is not None},
    }
