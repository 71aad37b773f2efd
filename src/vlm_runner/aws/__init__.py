"""The gateway to AWS: small ports, and a file for each service, for aioboto3, and for AWS's errors."""
