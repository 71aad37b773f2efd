"""
A simulated AWS on your machine: one HTTP server for real botocore clients, as strict as AWS.

Bedrock and Bedrock Runtime are implemented here; S3, STS, SQS, EventBridge, SageMaker, ECS and IAM by moto.
Nothing here imports the runner: they can only agree through HTTP and botocore's service model.
"""

from vlm_runner.sandbox.options import SandboxOptions
from vlm_runner.sandbox.prices import read_prices
from vlm_runner.sandbox.server import Sandbox, serve

__all__ = ["Sandbox", "SandboxOptions", "read_prices", "serve"]
