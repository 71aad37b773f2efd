"""From dataset to released throughput, as a runner goes."""

import csv
import io
import json
from datetime import timedelta

import pytest

from .desk import BUCKET, LLAMA, Desk, png


def test_one_run_from_job_to_ledger(desk: Desk) -> None:
    desk.stage()
    arn = desk.bedrock.create_model_customization_job(**desk.job())["jobArn"]
    assert desk.bedrock.get_model_customization_job(jobIdentifier=arn)["status"] == "InProgress"
    desk.advance(6 * 3600)

    job = desk.bedrock.get_model_customization_job(jobIdentifier="cats")
    throughput = desk.bedrock.create_provisioned_model_throughput(
        modelUnits=1, provisionedModelName="cats-pt", modelId=job["outputModelArn"]
    )["provisionedModelArn"]
    desk.advance(1800)
    image = {"image": {"format": "png", "source": {"bytes": png(3 * 251 // 8)}}}
    messages = [{"role": "user", "content": [{"text": "Judge page 3."}, image]}]
    answer = desk.runtime.converse(modelId=throughput, messages=messages)
    desk.bedrock.delete_provisioned_model_throughput(provisionedModelId=throughput)
    ledger = desk.call("GET", "ledger")

    assert job["status"] == "Completed"
    assert job["clientRequestToken"] == "token-1"
    assert "Finding number 3" in answer["output"]["message"]["content"][0]["text"]
    assert answer["stopReason"] == "end_turn"
    kinds = {entry["kind"]: entry for entry in ledger["entries"]}
    assert ledger["totals"]["count"] == {
        "customization_job": 1,
        "custom_model": 1,
        "provisioned_throughput": 1,
    }
    assert kinds["customization_job"]["tokens_trained"] > 0
    assert kinds["customization_job"]["cost_usd"] > 0
    assert kinds["provisioned_throughput"]["status"] == "Deleted"
    assert not kinds["provisioned_throughput"]["still_billing"]
    rented = next(one for one in desk.sandbox.state.ledger.entries() if one.kind == "provisioned_throughput")
    rented.ended_at = rented.created_at + timedelta(minutes=61.5)
    costs = {}
    for started in (None, "minute", "hour"):
        desk.change_scenario(rent_started=started)
        bill = {one["kind"]: one["cost_usd"] for one in desk.call("GET", "ledger")["entries"]}
        costs[started] = bill["provisioned_throughput"]
    hour = costs["hour"] / 2
    assert costs == {
        None: pytest.approx(hour * 61.5 / 60),
        "minute": pytest.approx(hour * 62 / 60),
        "hour": 2 * hour,
    }
    assert hour > 0


def test_the_notebooks_llama_run_works_in_2025(desk_of_2025: Desk) -> None:
    desk = desk_of_2025
    desk.stage(100)
    desk.bedrock.create_model_customization_job(**desk.job(baseModelIdentifier=LLAMA))
    desk.advance(6 * 3600)
    throughput = desk.bedrock.create_provisioned_model_throughput(
        modelUnits=1, provisionedModelName="cats-pt", modelId="cats-model"
    )["provisionedModelArn"]
    desk.advance(3600)
    prompt = (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<|image|>Judge page 7.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    body = json.dumps({"prompt": prompt, "max_gen_len": 512, "temperature": 0.1})
    reply = desk.runtime.invoke_model(modelId=throughput, body=body)
    answer = json.loads(reply["body"].read())
    ledger = {entry["kind"]: entry for entry in desk.call("GET", "ledger")["entries"]}

    assert "Finding number 7" in answer["generation"]
    assert answer["stop_reason"] == "stop"
    assert ledger["customization_job"]["cost_usd"] > 0
    assert ledger["provisioned_throughput"]["cost_usd"] >= 23.0
    assert ledger["provisioned_throughput"]["still_billing"]


def test_metric_files_appear_without_anyone_asking(desk: Desk) -> None:
    desk.stage()
    validators = {"validators": [{"s3Uri": f"s3://{BUCKET}/data/train.jsonl"}]}
    arn = desk.bedrock.create_model_customization_job(**desk.job(validationDataConfig=validators))["jobArn"]
    desk.advance(6 * 3600)
    root = f"output/model-customization-job-{arn[-12:]}"
    keys = [row["Key"] for row in desk.s3.list_objects_v2(Bucket=BUCKET, Prefix="output")["Contents"]]
    body = desk.s3.get_object(Bucket=BUCKET, Key=f"{root}/training_artifacts/step_wise_training_metrics.csv")[
        "Body"
    ].read()
    rows = list(csv.DictReader(io.StringIO(body.decode())))

    assert keys == [
        "output/.write_access_check_file.temp",
        f"{root}/input_status/manifest.report.csv",
        f"{root}/training_artifacts/step_wise_training_metrics.csv",
        f"{root}/validated_data/training/validated_prompts.jsonl",
        f"{root}/validated_data/validation-1/validated_prompts.jsonl",
        f"{root}/validation_artifacts/post_fine_tuning_validation/validation_metrics.csv",
    ]
    assert list(rows[0]) == ["step_number", "epoch_number", "training_loss", "perplexity"]
    assert float(rows[-1]["training_loss"]) < float(rows[0]["training_loss"])
